import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import { Attention } from '../layers/attention/attention.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import { Plamo2Mixer } from '../layers/mamba/plamo2-mixer.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { isSpare } from './config/hybrid-config.ts';
import { SIZE } from './config/mixer-config.ts';
import { readRope } from './config/rope-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { type DecoderConfig, DecoderLM } from './decoder-lm.ts';

/** config.json of a Plamo2ForCausalLM. */
export interface Plamo2Config extends DecoderConfig {
  /** Columns of every head, of attention and of mixers. */
  readonly headDim: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly mambaNumHeads: number;
  readonly ssmStateSize: number;
  readonly convKernelSize: number;
  readonly timeStepRank: number;
  /** One layer in so many has attention, the others have a mixer; undefined: all have attention. */
  readonly mambaStep: number | undefined;
  /** Keys that a token sees at most, its own and those before it, in layers other than {@link fullAttentionLayers}. */
  readonly slidingWindow: number;
  readonly fullAttentionLayers: readonly number[];
  readonly intermediateSize: number;
}

/** Norms of queries and keys have this epsilon whatever the config says. */
const HEAD_NORM_EPS = 1e-6;

/** What weights of norms lack in the checkpoint, by the norm's place in a layer. */
const NORM_OFFSETS = { before: 1, afterMixer: 1 / 5, afterMlp: 1 / 5 ** 1.5 };

/** Defaults are those of the config class that PLaMo 2's repositories bring. */
export function readPlamo2Config(json: JsonObject): Plamo2Config {
  const config = new ConfigReader(json, 'config.json');
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  const headDim = config.integer('hidden_size_per_head', { default: 128, ...SIZE });
  const numAttentionHeads = config.integer('num_attention_heads', { default: 32, ...SIZE });
  const numKeyValueHeads = config.integer('num_key_value_heads', { default: 4, ...SIZE });
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw new ConfigError(
      `${config.fileName}: num_key_value_heads ${numKeyValueHeads} does not divide num_attention_heads ${numAttentionHeads}.`,
    );
  }
  return {
    architecture: 'Plamo2ForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 32000, ...SIZE }),
    hiddenSize,
    numHiddenLayers: config.integer('num_hidden_layers', { default: 32, ...SIZE }),
    chunkSize: config.integer('mamba_chunk_size', { default: 256, ...SIZE }),
    headDim,
    numAttentionHeads,
    numKeyValueHeads,
    mambaNumHeads: config.integer('mamba_num_heads', { default: 64, ...SIZE }),
    ssmStateSize: config.integer('mamba_d_state', { default: 64, ...SIZE }),
    convKernelSize: config.integer('mamba_d_conv', { default: 4, ...SIZE }),
    timeStepRank: Math.max(64, Math.floor(hiddenSize / 16)),
    mambaStep: config.boolean('mamba_enabled', { default: true })
      ? config.integer('mamba_step', { default: 2, min: 2 })
      : undefined,
    // The key counts the keys before the token's own.
    slidingWindow: config.integer('attention_window_size', { default: 2048, ...SIZE }) + 1,
    fullAttentionLayers:
      config.optionalList<number>('full_attention_idx', Number.isInteger, 'a list of integers') ?? [],
    intermediateSize: config.integer('intermediate_size', { default: 13312, ...SIZE }),
    normEps: config.number('rms_norm_eps', { default: 1e-6, min: 0 }),
    finalNormOffset: NORM_OFFSETS.before,
    rope: readRope(config, headDim),
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: true }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

/** Whether layer i has attention: the one in the middle of each step, or the last one of a model that ends before. */
function hasAttention({ mambaStep, numHiddenLayers }: Plamo2Config, i: number): boolean {
  if (mambaStep === undefined) return true;
  const middle = Math.floor(mambaStep / 2);
  return numHiddenLayers <= middle ? i === numHiddenLayers - 1 : i % mambaStep === middle;
}

/** Mixer or attention, then feed-forward, each between two norms and added to what came in. */
class Plamo2Layer implements DecoderLayer {
  readonly mixer: Plamo2Mixer | undefined;
  readonly attention: Attention | undefined;
  readonly parts: readonly LayerPart[];
  readonly #context: LayerContext;
  readonly #mixing: Module;
  readonly #mix: (normed: Tensor, step: LayerStep) => Tensor;
  readonly #mlp: Mlp;
  readonly #norms: Readonly<Record<'pre_mixer_norm' | 'post_mixer_norm' | 'pre_mlp_norm' | 'post_mlp_norm', RMSNorm>>;

  constructor(
    context: LayerContext,
    config: Plamo2Config,
    i: number,
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, headDim, normEps } = config;
    const common = { hiddenSize, headDim, prefix: `${prefix}.mixer`, quantConfig };
    this.#context = context;
    if (hasAttention(config, i)) {
      const attention = new Attention(context, {
        ...common,
        numHeads: config.numAttentionHeads,
        numKvHeads: config.numKeyValueHeads,
        slidingWindow: config.fullAttentionLayers.includes(i) ? undefined : config.slidingWindow,
        bias: false,
        stackedInput: 'qkv_proj',
        headNorms: { eps: HEAD_NORM_EPS, query: 'q_weight', key: 'k_weight' },
      });
      this.attention = attention;
      this.parts = ['attention', 'feed-forward'];
      this.#mixing = attention;
      this.#mix = (normed, step) => attention.forward(normed, step);
    } else {
      const mixer = new Plamo2Mixer(context.sharing(config.mambaNumHeads), {
        ...common,
        numHeads: config.mambaNumHeads,
        ssmStateSize: config.ssmStateSize,
        convKernelSize: config.convKernelSize,
        timeStepRank: config.timeStepRank,
        rmsNormEps: normEps,
      });
      this.mixer = mixer;
      this.parts = ['mixer', 'feed-forward'];
      this.#mixing = mixer;
      this.#mix = (normed, { cache, metadata }) => mixer.forward(normed, cache, metadata);
    }
    this.#mlp = new Mlp(context, {
      hiddenSize,
      intermediateSize: config.intermediateSize,
      activation: 'silu',
      bias: false,
      input: { gateUp: 'gate_up_proj' },
      prefix: `${prefix}.mlp`,
      quantConfig,
    });
    const norm = (offset: number) => new RMSNorm(context, hiddenSize, normEps, offset);
    this.#norms = {
      pre_mixer_norm: norm(NORM_OFFSETS.before),
      post_mixer_norm: norm(NORM_OFFSETS.afterMixer),
      pre_mlp_norm: norm(NORM_OFFSETS.before),
      post_mlp_norm: norm(NORM_OFFSETS.afterMlp),
    };
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('mixer', this.#mixing);
    yield* prefixed('mlp', this.#mlp);
    for (const [name, norm] of Object.entries(this.#norms)) yield* prefixed(name, norm);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    const { backend } = this.#context;
    const norms = this.#norms;
    const mixed = this.#mix(norms.pre_mixer_norm.forward(hiddenStates), step);
    const residual = backend.add(hiddenStates, norms.post_mixer_norm.forward(mixed));
    const fed = this.#mlp.forward(norms.pre_mlp_norm.forward(residual));
    return backend.add(residual, norms.post_mlp_norm.forward(fed));
  }
}

export const plamo2: Architecture = {
  names: ['Plamo2ForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'plamo2',
  define: (json) => {
    const config = readPlamo2Config(json);
    const names = { embeddings: 'model.embed_tokens', layers: 'model.layers.layers', finalNorm: 'model.norm' };
    return {
      config,
      embeddings: `${names.embeddings}.weight`,
      create: (context, quantConfig) => {
        const layer = (i: number, prefix: string) => new Plamo2Layer(context, config, i, prefix, quantConfig);
        return new DecoderLM(context, config, names, layer, quantConfig);
      },
      parameterName: (name) => (isSpare(name) ? undefined : name),
    };
  },
};
