import type { MlpActivation } from '../backends/contract/activations.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { Attention } from '../layers/attention/attention.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import { sumOverRanks } from '../layers/linear/rank-sum.ts';
import { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { readActivation } from './config/activation-config.ts';
import {
  type AttentionSizes,
  isSpare,
  type MixerConfig,
  readAttentionSizes,
  readPrefixedMixer,
} from './config/hybrid-config.ts';
import { SIZE } from './config/mixer-config.ts';
import { readRope } from './config/rope-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { type DecoderConfig, DecoderLM, scaled } from './decoder-lm.ts';

/** config.json of a FalconH1ForCausalLM. */
export interface FalconH1Config extends DecoderConfig, AttentionSizes {
  readonly mixer: MixerConfig;
  readonly attentionBias: boolean;
  readonly intermediateSize: number;
  readonly hiddenAct: MlpActivation;
  readonly mlpBias: boolean;
  readonly keyMultiplier: number;
  readonly attentionInMultiplier: number;
  readonly attentionOutMultiplier: number;
  readonly ssmInMultiplier: number;
  readonly ssmOutMultiplier: number;
  /** Multipliers of the in-projection's parts: gate, x, B, C and dt. */
  readonly ssmMultipliers: readonly number[];
  /** Multipliers of the gate before its activation, and of the output. */
  readonly mlpMultipliers: readonly number[];
}

/** Defaults are those of transformers' FalconH1Config. */
export function readFalconH1Config(json: JsonObject): FalconH1Config {
  const config = new ConfigReader(json, 'config.json');
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  const attention = readAttentionSizes(config, hiddenSize, { heads: 32, kvHeads: 8 });
  const multiplier = (key: string) => config.number(key, { default: 1 });
  const mixer = {
    ...readPrefixedMixer(config, hiddenSize, { intermediateSize: 1024 }),
    useOutBias: config.boolean('projectors_bias', { default: false }),
    useRmsNorm: config.boolean('mamba_rms_norm', { default: false }),
    normBeforeGate: config.boolean('mamba_norm_before_gate', { default: true }),
  };
  return {
    architecture: 'FalconH1ForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 128000, ...SIZE }),
    hiddenSize,
    numHiddenLayers: config.integer('num_hidden_layers', { default: 32, ...SIZE }),
    chunkSize: mixer.chunkSize,
    mixer,
    ...attention,
    attentionBias: config.boolean('attention_bias', { default: false }),
    intermediateSize: config.integer('intermediate_size', { default: 14336, ...SIZE }),
    hiddenAct: readActivation(config, 'hidden_act', 'silu'),
    mlpBias: config.boolean('mlp_bias', { default: false }),
    embeddingMultiplier: multiplier('embedding_multiplier'),
    logitsMultiplier: multiplier('lm_head_multiplier'),
    keyMultiplier: multiplier('key_multiplier'),
    attentionInMultiplier: multiplier('attention_in_multiplier'),
    attentionOutMultiplier: multiplier('attention_out_multiplier'),
    ssmInMultiplier: multiplier('ssm_in_multiplier'),
    ssmOutMultiplier: multiplier('ssm_out_multiplier'),
    ssmMultipliers: config.numbers('ssm_multipliers', 5, [1, 1, 1, 1, 1]),
    mlpMultipliers: config.numbers('mlp_multipliers', 2, [1, 1]),
    normEps: config.number('rms_norm_eps', { default: 1e-5, min: 0 }),
    rope: readRope(config, attention.attentionHeadDim),
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: false }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

/** Norm, mixer and attention side by side, residual; norm, feed-forward, residual. */
class FalconH1Layer implements DecoderLayer {
  readonly mixer: MambaMixer2;
  readonly attention: Attention;
  readonly parts: readonly LayerPart[] = ['mixer', 'attention', 'feed-forward'];
  readonly #context: LayerContext;
  readonly #config: FalconH1Config;
  readonly #mupVector: Tensor;
  readonly #inputNorm: RMSNorm;
  readonly #preFeedForwardNorm: RMSNorm;
  readonly #feedForward: Mlp;

  constructor(context: LayerContext, config: FalconH1Config, prefix: string, quantConfig?: QuantizationConfig) {
    const { hiddenSize, normEps, attentionHeadDim } = config;
    this.#context = context;
    this.#config = config;
    this.#inputNorm = new RMSNorm(context, hiddenSize, normEps);
    this.mixer = new MambaMixer2(context.sharing(config.mixer.numHeads), {
      ...config.mixer,
      hiddenSize,
      rmsNormEps: normEps,
      prefix: `${prefix}.mamba`,
      quantConfig,
    });
    context.checkWeights(`${prefix}.mamba`, this.mixer);
    const factors = this.mixer.projectionSizes.flatMap((size, i) => Array(size).fill(config.ssmMultipliers[i]));
    this.#mupVector = context.backend.tensor(Float32Array.from(factors), [factors.length]);
    this.attention = new Attention(context, {
      hiddenSize,
      numHeads: config.numAttentionHeads,
      numKvHeads: config.numKeyValueHeads,
      headDim: attentionHeadDim,
      // Keys only meet queries, so a factor of the keys is one of the products.
      scale: attentionHeadDim ** -0.5 * config.keyMultiplier,
      bias: config.attentionBias,
      prefix: `${prefix}.self_attn`,
      quantConfig,
    });
    this.#preFeedForwardNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#feedForward = new Mlp(context, {
      hiddenSize,
      intermediateSize: config.intermediateSize,
      activation: config.hiddenAct,
      bias: config.mlpBias,
      input: { gate: 'gate_proj', up: 'up_proj' },
      gateMultiplier: config.mlpMultipliers[0],
      prefix: `${prefix}.feed_forward`,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('input_layernorm', this.#inputNorm);
    yield* prefixed('mamba', this.mixer);
    yield* prefixed('self_attn', this.attention);
    yield* prefixed('pre_ff_layernorm', this.#preFeedForwardNorm);
    yield* prefixed('feed_forward', this.#feedForward);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    const { backend } = this.#context;
    const times = (x: Tensor, multiplier: number) => scaled(this.#context, x, multiplier);
    const { ssmInMultiplier, ssmOutMultiplier, attentionInMultiplier, attentionOutMultiplier } = this.#config;
    const normed = this.#inputNorm.forward(hiddenStates);
    const { cache, metadata } = step;
    const [mixed, attended] = sumOverRanks(backend, [
      this.mixer.forwardPartial(times(normed, ssmInMultiplier), cache, metadata, this.#mupVector),
      this.attention.forwardPartial(times(normed, attentionInMultiplier), step),
    ]);
    const both = backend.add(times(mixed, ssmOutMultiplier), times(attended, attentionOutMultiplier));
    const residual = backend.add(hiddenStates, both);
    const fed = this.#feedForward.forward(this.#preFeedForwardNorm.forward(residual));
    return backend.add(residual, times(fed, this.#config.mlpMultipliers[1]));
  }
}

export const falconH1: Architecture = {
  names: ['FalconH1ForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'falcon_h1',
  define: (json) => {
    const config = readFalconH1Config(json);
    const names = { embeddings: 'model.embed_tokens', layers: 'model.layers', finalNorm: 'model.final_layernorm' };
    return {
      config,
      embeddings: `${names.embeddings}.weight`,
      create: (context, quantConfig) => {
        const layer = (_: number, prefix: string) => new FalconH1Layer(context, config, prefix, quantConfig);
        return new DecoderLM(context, config, names, layer, quantConfig);
      },
      parameterName: (name) => (isSpare(name) ? undefined : name),
    };
  },
};
