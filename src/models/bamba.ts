import type { MlpActivation } from '../backends/contract/activations.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import type { Attention } from '../layers/attention/attention.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import type { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { readActivation } from './config/activation-config.ts';
import { isSpare, readAttentionSizes, readLayerTypes, readPrefixedMixer } from './config/hybrid-config.ts';
import { SIZE } from './config/mixer-config.ts';
import { readRope } from './config/rope-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { type DecoderConfig, DecoderLM } from './decoder-lm.ts';
import { makeTokenMixing, type TokenMixing, type TokenMixingConfig } from './token-mixing.ts';

/** config.json of a BambaForCausalLM. */
export interface BambaConfig extends DecoderConfig, TokenMixingConfig {
  readonly attnLayerIndices: readonly number[];
  readonly intermediateSize: number;
  readonly hiddenAct: MlpActivation;
  readonly mlpBias: boolean;
}

/** Defaults are those of transformers' BambaConfig. */
export function readBambaConfig(json: JsonObject): BambaConfig {
  const config = new ConfigReader(json, 'config.json');
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  const mixer = readPrefixedMixer(config, hiddenSize);
  const attention = readAttentionSizes(config, hiddenSize, { heads: 32, kvHeads: 8 });
  return {
    architecture: 'BambaForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 128000, ...SIZE }),
    hiddenSize,
    numHiddenLayers: config.integer('num_hidden_layers', { default: 32, ...SIZE }),
    chunkSize: mixer.chunkSize,
    mixer,
    ...attention,
    attnLayerIndices: readAttentionLayers(config),
    attentionBias: config.boolean('attention_bias', { default: false }),
    intermediateSize: config.integer('intermediate_size', { default: 14336, ...SIZE }),
    hiddenAct: readActivation(config, 'hidden_act', 'silu'),
    mlpBias: config.boolean('mlp_bias', { default: false }),
    normEps: config.number('rms_norm_eps', { default: 1e-5, min: 0 }),
    rope: readRope(config, attention.attentionHeadDim, { partialRotaryFactor: 0.5 }),
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: false }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

/** Numbers of the attention layers, which a config lists alone or gives as a list of all layers' types. */
function readAttentionLayers(config: ConfigReader): readonly number[] {
  const isIndex = (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= 0;
  const indices = config.optionalList<number>('attn_layer_indices', isIndex, 'a list of layer numbers');
  const types = readLayerTypes(config, ['layer_types', 'layers_block_type'], ['linear_attention', 'full_attention']);
  const listed = types && [...types.keys()].filter((i) => types[i] === 'full_attention');
  if (indices && listed && [...indices].sort((a, b) => a - b).join() !== listed.join()) {
    throw new ConfigError(
      `${config.fileName}: 'attn_layer_indices' names the layers ${indices.join(', ') || 'none'}, the list of layers ${listed.join(', ') || 'none'}.`,
    );
  }
  return indices ?? listed ?? [];
}

/** Norm, mixer or attention, residual; norm, feed-forward, residual. */
class BambaLayer implements DecoderLayer {
  readonly mixer: MambaMixer2 | undefined;
  readonly attention: Attention | undefined;
  readonly parts: readonly LayerPart[];
  readonly #context: LayerContext;
  readonly #inputNorm: RMSNorm;
  readonly #mixing: TokenMixing;
  readonly #preFeedForwardNorm: RMSNorm;
  readonly #feedForward: Mlp;

  constructor(context: LayerContext, config: BambaConfig, i: number, prefix: string, quantConfig?: QuantizationConfig) {
    const { hiddenSize, normEps } = config;
    const mixing = config.attnLayerIndices.includes(i) ? 'attention' : 'mixer';
    this.#context = context;
    this.#inputNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#mixing = makeTokenMixing(context, config, mixing, prefix, quantConfig);
    this.mixer = this.#mixing.mixer;
    this.attention = this.#mixing.attention;
    this.parts = [mixing, 'feed-forward'];
    this.#preFeedForwardNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#feedForward = new Mlp(context, {
      hiddenSize,
      intermediateSize: config.intermediateSize,
      activation: config.hiddenAct,
      bias: config.mlpBias,
      input: { gate: 'gate_proj', up: 'up_proj' },
      prefix: `${prefix}.feed_forward`,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('input_layernorm', this.#inputNorm);
    yield* this.#mixing.parameters();
    yield* prefixed('pre_ff_layernorm', this.#preFeedForwardNorm);
    yield* prefixed('feed_forward', this.#feedForward);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    const { backend } = this.#context;
    const residual = backend.add(hiddenStates, this.#mixing.forward(this.#inputNorm.forward(hiddenStates), step));
    return backend.add(residual, this.#feedForward.forward(this.#preFeedForwardNorm.forward(residual)));
  }
}

export const bamba: Architecture = {
  names: ['BambaForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'bamba',
  define: (json) => {
    const config = readBambaConfig(json);
    const names = { embeddings: 'model.embed_tokens', layers: 'model.layers', finalNorm: 'model.final_layernorm' };
    return {
      config,
      embeddings: `${names.embeddings}.weight`,
      create: (context, quantConfig) => {
        const layer = (i: number, prefix: string) => new BambaLayer(context, config, i, prefix, quantConfig);
        return new DecoderLM(context, config, names, layer, quantConfig);
      },
      parameterName: (name) => (isSpare(name) ? undefined : name),
    };
  },
};
