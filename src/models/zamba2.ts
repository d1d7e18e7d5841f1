import { getOwn } from '../checkpoint/json/json.ts';
import { Attention } from '../layers/attention/attention.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import { LowRankAdapter } from '../layers/linear/low-rank-adapter.ts';
import { ReplicatedLinear } from '../layers/linear/replicated-linear.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { isSpare } from './config/hybrid-config.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { DecoderLM } from './decoder-lm.ts';
import { readZamba2Config, type Zamba2Config } from './zamba2-config.ts';

/** A transformer block without residuals that several layers use, each with adapters and a cache of its own. */
class SharedTransformer implements Module {
  readonly attention: Attention;
  readonly #context: LayerContext;
  readonly #inputNorm: RMSNorm;
  readonly #preFeedForwardNorm: RMSNorm;
  readonly #feedForward: Mlp;
  readonly #uses = new Map<number, Adapters>();

  /** @param uses which of the model's hybrid layers use this block, counted from 0. */
  constructor(
    context: LayerContext,
    config: Zamba2Config,
    uses: readonly number[],
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, attentionHeadDim, intermediateSize, normEps } = config;
    this.#context = context;
    this.#inputNorm = new RMSNorm(context, 2 * hiddenSize, normEps);
    this.attention = new Attention(context, {
      hiddenSize,
      inputSize: 2 * hiddenSize,
      numHeads: numAttentionHeads,
      numKvHeads: numKeyValueHeads,
      headDim: attentionHeadDim,
      scale: (attentionHeadDim / 2) ** -0.5,
      bias: false,
      prefix: `${prefix}.self_attn`,
      quantConfig,
    });
    this.#preFeedForwardNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#feedForward = new Mlp(context, {
      hiddenSize,
      intermediateSize,
      activation: config.hiddenAct,
      bias: config.addBiasLinear,
      input: { gateUp: 'gate_up_proj' },
      prefix: `${prefix}.feed_forward`,
      quantConfig,
    });
    const adapter = { rank: config.adapterRank, prefix: `${prefix}.adapters`, quantConfig };
    for (const use of uses) {
      const specs = this.#feedForward.inputSpecs;
      const gateUp = new LowRankAdapter(context.sharing(intermediateSize), {
        ...adapter,
        inputSize: hiddenSize,
        specs,
      });
      const qkv = this.attention.qkvSpecs.map(
        (spec) =>
          new LowRankAdapter(context.sharing(numAttentionHeads), {
            ...adapter,
            inputSize: 2 * hiddenSize,
            specs: [spec],
          }),
      );
      this.#uses.set(use, { gateUp, qkv: config.useSharedAttentionAdapter ? qkv : undefined });
    }
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('input_layernorm', this.#inputNorm);
    yield* prefixed('self_attn', this.attention);
    yield* prefixed('pre_ff_layernorm', this.#preFeedForwardNorm);
    yield* prefixed('feed_forward', this.#feedForward);
    for (const [use, { gateUp, qkv }] of this.#uses) {
      yield* prefixed(`feed_forward.gate_up_proj_adapter_list.${use}`, gateUp, 'feedForward');
      for (const [i, letter] of ['q', 'k', 'v'].entries()) {
        if (qkv) yield* prefixed(`self_attn.linear_${letter}_adapter_list.${use}`, qkv[i], 'attention');
      }
    }
  }

  /** @param use which of the model's hybrid layers this is, counted from 0. */
  forward(hiddenStates: Tensor, step: LayerStep, use: number): Tensor {
    const adapters = this.#uses.get(use);
    const both = this.#context.backend.concatColumns([hiddenStates, step.embedded]);
    const normed = this.#inputNorm.forward(both); // (T, 2 hidden)
    const qkvDeltas = adapters?.qkv?.map((adapter) => adapter.forward(normed));
    const attended = this.#preFeedForwardNorm.forward(this.attention.forward(normed, { ...step, qkvDeltas }));
    return this.#feedForward.forward(attended, adapters?.gateUp.forward(attended));
  }
}

/** Low-rank additions to a shared block's projections in one of its uses. */
interface Adapters {
  readonly gateUp: LowRankAdapter;
  readonly qkv: readonly LowRankAdapter[] | undefined;
}

/** Source of a hybrid layer's shared transformer. */
interface SharedUse {
  readonly transformer: SharedTransformer;
  readonly use: number;
  /** The first layer that uses a block owns its weights. */
  readonly owns: boolean;
}

/** Norm, mixer, residual; in a hybrid layer a shared transformer's output is added to the mixer's input. */
class Zamba2Layer implements DecoderLayer {
  readonly mixer: MambaMixer2;
  readonly attention: Attention | undefined;
  readonly parts: readonly LayerPart[];
  readonly #context: LayerContext;
  readonly #inputNorm: RMSNorm;
  readonly #shared: (SharedUse & { readonly linear: ReplicatedLinear }) | undefined;

  constructor(
    context: LayerContext,
    config: Zamba2Config,
    prefix: string,
    shared: SharedUse | undefined,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, normEps } = config;
    this.#context = context;
    this.#inputNorm = new RMSNorm(context, hiddenSize, normEps);
    this.mixer = new MambaMixer2(context.sharing(config.mixer.numHeads), {
      ...config.mixer,
      hiddenSize,
      prefix: `${prefix}.mamba`,
      quantConfig,
    });
    this.parts = shared ? ['attention', 'feed-forward', 'mixer'] : ['mixer'];
    if (!shared) return;
    this.attention = shared.transformer.attention;
    const linear = { bias: false, prefix: `${prefix}.linear`, quantConfig };
    this.#shared = { ...shared, linear: new ReplicatedLinear(context, hiddenSize, hiddenSize, linear) };
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    const decoder = this.#shared ? 'mamba_decoder.' : '';
    yield* prefixed(`${decoder}input_layernorm`, this.#inputNorm);
    yield* prefixed(`${decoder}mamba`, this.mixer);
    if (!this.#shared) return;
    yield* prefixed('linear', this.#shared.linear, 'feedForward');
    if (this.#shared.owns) yield* prefixed('shared_transformer', this.#shared.transformer);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    const { backend } = this.#context;
    const input = this.#shared
      ? backend.add(hiddenStates, this.#transformed(hiddenStates, step, this.#shared))
      : hiddenStates;
    const mixed = this.mixer.forward(this.#inputNorm.forward(input), step.cache, step.metadata);
    return backend.add(hiddenStates, mixed);
  }

  #transformed(
    hiddenStates: Tensor,
    step: LayerStep,
    { transformer, use, linear }: SharedUse & { readonly linear: ReplicatedLinear },
  ): Tensor {
    return linear.forward(transformer.forward(hiddenStates, step, use));
  }
}

const NAMES = { embeddings: 'model.embed_tokens', layers: 'model.layers', finalNorm: 'model.final_layernorm' };

/** A stage whose layers use a block that an earlier stage owns has the block, too. */
function createZamba2(context: LayerContext, config: Zamba2Config, quantConfig?: QuantizationConfig): DecoderLM {
  const { begin, end } = context.stage ?? { begin: 0, end: config.numHiddenLayers };
  const blocks: SharedTransformer[] = [];
  const borrowed = new Map<string, Module>();
  const hybrids = hybridLayers(config);
  const makeBlock = (block: number): SharedTransformer => {
    const uses = [...hybrids.keys()].filter((use) => use % config.numMemBlocks === block && isHere(hybrids[use]));
    const prefix = `${NAMES.layers}.${hybrids[block]}.shared_transformer`;
    const transformer = new SharedTransformer(context, config, uses, prefix, quantConfig);
    if (!isHere(hybrids[block])) borrowed.set(prefix, transformer);
    return transformer;
  };
  const isHere = (layer: number) => layer >= begin && layer < end;
  const share = (i: number): SharedUse | undefined => {
    const use = hybrids.indexOf(i);
    if (use === -1) return undefined;
    const block = use % config.numMemBlocks;
    blocks[block] ??= makeBlock(block);
    return { transformer: blocks[block], use, owns: use < config.numMemBlocks };
  };
  const layer = (i: number, prefix: string) => new Zamba2Layer(context, config, prefix, share(i), quantConfig);
  return new DecoderLM(context, config, NAMES, layer, quantConfig, { borrowed, readsEmbedded: true });
}

function hybridLayers({ layerTypes }: Zamba2Config): number[] {
  return [...layerTypes.keys()].filter((i) => layerTypes[i] === 'hybrid');
}

/**
 * Writers of checkpoints store a shared block with the first layer that uses it, with the last, or with all of them.
 * @returns the model's name, which is that of the first; undefined where an earlier layer has the same tensor.
 */
function sharedName(config: Zamba2Config, name: string, stored: ReadonlySet<string>): string | undefined {
  const [, layer, rest] = /^model\.layers\.(\d+)\.shared_transformer\.(.+)$/.exec(name) ?? [];
  const hybrids = hybridLayers(config);
  const use = hybrids.indexOf(Number(layer));
  if (use === -1) return name;
  const users = hybrids.filter((_, other) => (other - use) % config.numMemBlocks === 0);
  const names = users.map((i) => `model.layers.${i}.shared_transformer.${rest}`);
  return names.find((candidate) => stored.has(candidate)) === name ? names[0] : undefined;
}

export const zamba2: Architecture = {
  names: ['Zamba2ForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'zamba2',
  define: (json, stored) => {
    const config = readZamba2Config(json, stored);
    return {
      config,
      embeddings: `${NAMES.embeddings}.weight`,
      create: (context, quantConfig) => createZamba2(context, config, quantConfig),
      parameterName: (name) => (isSpare(name) ? undefined : sharedName(config, name, stored)),
    };
  },
};
