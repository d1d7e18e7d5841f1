import type { RoutingOptions } from '../backends/contract/experts.ts';
import { getOwn } from '../checkpoint/json/json.ts';
import { Attention, type KvCacheParams } from '../layers/attention/attention.ts';
import { FusedMoe, type FusedMoeOptions } from '../layers/feed-forward/fused-moe.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import { sumOverRanks } from '../layers/linear/rank-sum.ts';
import { ReplicatedLinear } from '../layers/linear/replicated-linear.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import { tensorWeight, type Weight } from '../layers/parameters/weight.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { isSpare } from './config/hybrid-config.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { DecoderLM } from './decoder-lm.ts';
import { MultiTokenPredictor } from './multi-token-predictor.ts';
import {
  type NemotronHConfig,
  type NemotronHMoeConfig,
  readNemotronHConfig,
  readPredictorConfig,
} from './nemotron-h-config.ts';

/** A config, and what only the checkpoint tells. */
interface StoredConfig extends NemotronHConfig {
  /** Most writers store each expert's matrices; transformers 5 stacks them, except in the original format. */
  readonly expertLayout: FusedMoeOptions['layout'];
}

/** Tensors of a layer's experts where they are stacked; their names have no `.weight` at the end. */
const STACKED_EXPERTS = /^(model|backbone|mtp)\.layers\.\d+\.mixer\.experts\.(up|down)_proj$/;

/** Beginning of the names of layers for multi-token prediction. */
const PREDICTOR = 'mtp.';

/** Norm, one of four kinds of layers, residual. */
class NemotronHBlock implements DecoderLayer {
  readonly mixer: MambaMixer2 | undefined;
  readonly attention: Attention | undefined;
  readonly parts: readonly LayerPart[];
  readonly #context: LayerContext;
  readonly #norm: RMSNorm;
  readonly #part: Module;
  readonly #forward: (normed: Tensor, step: LayerStep) => Tensor;

  constructor(
    context: LayerContext,
    config: StoredConfig,
    i: number,
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, normEps, layerTypes } = config;
    const own = config.layers?.[i] ?? config;
    const common = { hiddenSize, prefix: `${prefix}.mixer`, quantConfig };
    this.#context = context;
    this.#norm = new RMSNorm(context, hiddenSize, normEps);
    switch (layerTypes[i]) {
      case 'linear_attention': {
        const sharing = context.sharing(own.mixer.numHeads);
        const mixer = new MambaMixer2(sharing, { ...own.mixer, ...common, rmsNormEps: normEps });
        this.mixer = mixer;
        this.parts = ['mixer'];
        this.#part = mixer;
        this.#forward = (normed, { cache, metadata }) => mixer.forward(normed, cache, metadata);
        break;
      }
      case 'full_attention': {
        const attention = new Attention(context, {
          ...common,
          numHeads: own.numAttentionHeads,
          numKvHeads: own.numKeyValueHeads,
          headDim: own.attentionHeadDim,
          slidingWindow: own.slidingWindow,
          // transformers and vLLM carry `attention_bias` in the config but have no biases here.
          bias: false,
        });
        this.attention = attention;
        this.parts = ['attention'];
        this.#part = attention;
        this.#forward = (normed, step) => attention.forward(normed, step);
        break;
      }
      case 'moe': {
        const moe = new NemotronHMoe(context, config, own.moe, common.prefix, quantConfig);
        this.#part = moe;
        this.parts = ['experts', 'feed-forward'];
        this.#forward = (normed) => moe.forward(normed);
        break;
      }
      default: {
        const before = layerTypes.slice(0, i).filter((type) => type === 'mlp').length;
        const mlp = feedForward(context, config, config.intermediateSizes[before], common.prefix, quantConfig);
        this.#part = mlp;
        this.parts = ['feed-forward'];
        this.#forward = (normed) => mlp.forward(normed);
      }
    }
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('norm', this.#norm);
    yield* prefixed('mixer', this.#part);
  }

  store(hiddenStates: Tensor, kvCache: KvCacheParams, slotMapping: Tensor): void {
    this.attention?.store(this.#norm.forward(hiddenStates), kvCache, slotMapping);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    return this.#context.backend.add(hiddenStates, this.#forward(this.#norm.forward(hiddenStates), step));
  }
}

/**
 * Experts chosen by sigmoids and a correction bias, in fewer columns if the config says so, besides a shared expert.
 */
class NemotronHMoe implements Module {
  readonly #context: LayerContext;
  readonly #routing: RoutingOptions;
  readonly #gate: ReplicatedLinear;
  readonly #correctionBias: Weight<Tensor>;
  readonly #experts: FusedMoe;
  readonly #sharedExperts: Mlp;
  readonly #latent: { readonly into: ReplicatedLinear; readonly out: ReplicatedLinear } | undefined;

  constructor(
    context: LayerContext,
    config: StoredConfig,
    moe: NemotronHMoeConfig,
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, mlpHiddenAct, mlpBias, expertLayout } = config;
    this.#context = context;
    this.#routing = moe.routing;
    const gate = { bias: false, prefix: `${prefix}.gate`, quantConfig };
    this.#gate = new ReplicatedLinear(context, hiddenSize, moe.numExperts, gate, 'router');
    this.#correctionBias = tensorWeight(context, 'correctionBias', {
      owner: 'A NemotronHMoe',
      shape: [moe.numExperts],
    });
    this.#experts = new FusedMoe(context, {
      numExperts: moe.numExperts,
      hiddenSize: moe.latentSize ?? hiddenSize,
      intermediateSize: moe.intermediateSize,
      activation: mlpHiddenAct,
      gated: false,
      layout: expertLayout,
      inputName: expertLayout === 'stacked' ? 'experts.up_proj' : 'up_proj',
      outputName: expertLayout === 'stacked' ? 'experts.down_proj' : 'down_proj',
      prefix,
      quantConfig,
    });
    this.#sharedExperts = feedForward(
      context,
      config,
      moe.sharedIntermediateSize,
      `${prefix}.shared_experts`,
      quantConfig,
    );
    if (moe.latentSize !== undefined) {
      const linear = (from: number, to: number, name: string) =>
        new ReplicatedLinear(context, from, to, { bias: mlpBias, prefix: `${prefix}.${name}`, quantConfig });
      this.#latent = {
        into: linear(hiddenSize, moe.latentSize, 'fc1_latent_proj'),
        out: linear(moe.latentSize, hiddenSize, 'fc2_latent_proj'),
      };
    }
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('gate', this.#gate, 'experts');
    yield ['gate.e_score_correction_bias', { ...this.#correctionBias.parameter, part: 'experts' }];
    yield* this.#experts.parameters();
    yield* prefixed('shared_experts', this.#sharedExperts);
    if (!this.#latent) return;
    yield* prefixed('fc1_latent_proj', this.#latent.into, 'experts');
    yield* prefixed('fc2_latent_proj', this.#latent.out, 'experts');
  }

  forward(x: Tensor): Tensor {
    const { backend } = this.#context;
    // First what may have the norm done by its first kernel.
    const forAll = this.#sharedExperts.forwardPartial(x);
    const logits = this.#gate.forward(x);
    const routing = backend.topKRouting(logits, this.#routing, this.#correctionBias.get());
    const [routed, shared] = sumOverRanks(backend, [
      this.#experts.forwardPartial(this.#latent ? this.#latent.into.forward(x) : x, routing),
      forAll,
    ]);
    return backend.add(this.#latent ? this.#latent.out.forward(routed) : routed, shared);
  }
}

/** down(activation(up x)) */
function feedForward(
  context: LayerContext,
  { hiddenSize, mlpHiddenAct, mlpBias }: NemotronHConfig,
  intermediateSize: number,
  prefix: string,
  quantConfig?: QuantizationConfig,
): Mlp {
  const input = { up: 'up_proj' };
  return new Mlp(context, {
    hiddenSize,
    intermediateSize,
    activation: mlpHiddenAct,
    bias: mlpBias,
    input,
    prefix,
    quantConfig,
  });
}

export const nemotronH: Architecture = {
  names: ['NemotronHForCausalLM', 'NemotronHPuzzleForCausalLM'],
  recognizes: (json) => ['nemotron_h', 'nemotron_h_puzzle'].includes(String(getOwn(json, 'model_type'))),
  define: (json, stored, { mtp }) => {
    const stacked = [...stored].filter((name) => STACKED_EXPERTS.test(name));
    const layoutOf = (ofPredictor: boolean) =>
      stacked.some((name) => name.startsWith(PREDICTOR) === ofPredictor) ? 'stacked' : 'separate';
    const predictor = mtp ? readPredictorConfig(json) : undefined;
    const config: StoredConfig = { ...readNemotronHConfig(json), predictor, expertLayout: layoutOf(false) };
    const ofPredictor: StoredConfig | undefined = predictor && {
      ...config,
      ...predictor,
      expertLayout: layoutOf(true),
    };
    const names = { embeddings: 'backbone.embeddings', layers: 'backbone.layers', finalNorm: 'backbone.norm_f' };
    return {
      config,
      predicts: predictor !== undefined,
      embeddings: `${names.embeddings}.weight`,
      create: (context, quantConfig) => {
        const layer = (i: number, prefix: string) => new NemotronHBlock(context, config, i, prefix, quantConfig);
        const makePredictor =
          ofPredictor &&
          (() => {
            const { hiddenSize, normEps, layerTypes } = ofPredictor;
            const prefix = `${PREDICTOR}layers`;
            const options = { hiddenSize, normEps, numLayers: layerTypes.length, prefix, quantConfig };
            return new MultiTokenPredictor(
              context,
              options,
              (i, prefix) => new NemotronHBlock(context, ofPredictor, i, prefix, quantConfig),
            );
          });
        return new DecoderLM(context, config, names, layer, quantConfig, { makePredictor });
      },
      parameterName: (name) => {
        if (isSpare(name) || (name.startsWith(PREDICTOR) && !predictor)) return undefined;
        return name
          .replace(STACKED_EXPERTS, '$&.weight')
          .replace(/^model\./, 'backbone.')
          .replace(/^backbone\.embedding\.weight$/, 'backbone.embeddings.weight');
      },
    };
  },
};
