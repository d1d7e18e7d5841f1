import type { MlpActivation } from '../backends/contract/activations.ts';
import { ConfigReader } from '../checkpoint/json/config-reader.ts';
import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { ConfigError } from '../errors.ts';
import type { Attention } from '../layers/attention/attention.ts';
import { FusedMoe } from '../layers/feed-forward/fused-moe.ts';
import { Mlp } from '../layers/feed-forward/mlp.ts';
import { type RankSum, sumOverRanks } from '../layers/linear/rank-sum.ts';
import { ReplicatedLinear } from '../layers/linear/replicated-linear.ts';
import type { MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Architecture, LayerPart } from './causal-lm.ts';
import { readActivation } from './config/activation-config.ts';
import {
  isSpare,
  type LayerType,
  readAttentionSizes,
  readLayerTypes,
  readPrefixedMixer,
} from './config/hybrid-config.ts';
import { SIZE } from './config/mixer-config.ts';
import { readRope } from './config/rope-config.ts';
import { readTokenIds } from './config/token-ids.ts';
import type { DecoderLayer, LayerStep } from './decoder-layer.ts';
import { type DecoderConfig, DecoderLM, scaled } from './decoder-lm.ts';
import { assertLayersStored } from './stored-layers.ts';
import { makeTokenMixing, type TokenMixing, type TokenMixingConfig } from './token-mixing.ts';

/** config.json of a GraniteMoeHybridForCausalLM. */
export interface GraniteMoeHybridConfig extends DecoderConfig, TokenMixingConfig {
  readonly layerTypes: readonly LayerType[];
  readonly residualMultiplier: number;
  readonly hiddenAct: MlpActivation;
  /** Inner size of the feed-forward layer that every token visits. */
  readonly sharedIntermediateSize: number;
  /** 0: a model without experts. */
  readonly numLocalExperts: number;
  readonly numExpertsPerTok: number;
  /** Inner size of one expert. */
  readonly intermediateSize: number;
}

/** Defaults are those of transformers' GraniteMoeHybridConfig. */
export function readGraniteMoeHybridConfig(json: JsonObject, stored?: ReadonlySet<string>): GraniteMoeHybridConfig {
  const config = new ConfigReader(json, 'config.json');
  const hiddenSize = config.integer('hidden_size', { default: 4096, ...SIZE });
  const numHiddenLayers = config.integer('num_hidden_layers', { default: 32, ...SIZE });
  // Checked before a list of that length is made.
  assertLayersStored(numHiddenLayers, stored);
  const mixer = readPrefixedMixer(config, hiddenSize);
  const attention = readAttentionSizes(config, hiddenSize, { heads: 32 });
  const layerTypes =
    readLayerTypes(config, ['layer_types', 'layers_block_type'], ['linear_attention', 'full_attention']) ??
    Array.from({ length: numHiddenLayers }, () => 'linear_attention' as const);
  if (layerTypes.length !== numHiddenLayers) {
    throw new ConfigError(
      `${config.fileName}: layer_types has ${layerTypes.length} layers, but num_hidden_layers is ${numHiddenLayers}.`,
    );
  }
  const numLocalExperts = config.integer('num_local_experts', { default: 8, min: 0 });
  const multiplier = (key: string) => config.number(key, { default: 1 });
  return {
    architecture: 'GraniteMoeHybridForCausalLM',
    vocabSize: config.integer('vocab_size', { default: 32000, ...SIZE }),
    hiddenSize,
    numHiddenLayers,
    chunkSize: mixer.chunkSize,
    layerTypes,
    mixer,
    ...attention,
    attentionBias: config.boolean('attention_bias', { default: false }),
    attentionMultiplier: multiplier('attention_multiplier'),
    residualMultiplier: multiplier('residual_multiplier'),
    embeddingMultiplier: multiplier('embedding_multiplier'),
    logitsMultiplier: 1 / config.number('logits_scaling', { default: 1, above: 0 }),
    hiddenAct: readActivation(config, 'hidden_act', 'silu'),
    sharedIntermediateSize: config.integer('shared_intermediate_size', { default: 1024, ...SIZE }),
    numLocalExperts,
    numExpertsPerTok: config.integer('num_experts_per_tok', {
      default: 2,
      min: Math.min(numLocalExperts, 1),
      max: numLocalExperts || undefined,
    }),
    intermediateSize: config.integer('intermediate_size', { default: 11008, min: 0 }),
    normEps: config.number('rms_norm_eps', { default: 1e-6, min: 0 }),
    rope:
      config.oneOf('position_embedding_type', ['rope', 'nope'], { default: 'nope' }) === 'rope'
        ? readRope(config, attention.attentionHeadDim)
        : undefined,
    tieWordEmbeddings: config.boolean('tie_word_embeddings', { default: false }),
    eosTokenIds: readTokenIds(json, 'eos_token_id', config.fileName),
  };
}

/** Norm, mixer or attention, residual; norm, experts and shared feed-forward, residual. Residuals are scaled. */
class GraniteLayer implements DecoderLayer {
  readonly mixer: MambaMixer2 | undefined;
  readonly attention: Attention | undefined;
  readonly parts: readonly LayerPart[];
  readonly #context: LayerContext;
  readonly #residualMultiplier: number;
  readonly #inputNorm: RMSNorm;
  readonly #mixing: TokenMixing;
  readonly #postAttentionNorm: RMSNorm;
  readonly #sharedMlp: Mlp;
  readonly #moe: GraniteMoe | undefined;

  constructor(
    context: LayerContext,
    config: GraniteMoeHybridConfig,
    type: LayerType,
    prefix: string,
    quantConfig?: QuantizationConfig,
  ) {
    const { hiddenSize, normEps } = config;
    const mixing = type === 'full_attention' ? 'attention' : 'mixer';
    this.#context = context;
    this.#residualMultiplier = config.residualMultiplier;
    this.#inputNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#mixing = makeTokenMixing(context, config, mixing, prefix, quantConfig);
    this.mixer = this.#mixing.mixer;
    this.attention = this.#mixing.attention;
    this.#postAttentionNorm = new RMSNorm(context, hiddenSize, normEps);
    this.#sharedMlp = new Mlp(context, {
      hiddenSize,
      intermediateSize: config.sharedIntermediateSize,
      activation: config.hiddenAct,
      bias: false,
      input: { gateUp: 'input_linear' },
      output: 'output_linear',
      prefix: `${prefix}.shared_mlp`,
      quantConfig,
    });
    this.parts = config.numLocalExperts > 0 ? [mixing, 'experts', 'feed-forward'] : [mixing, 'feed-forward'];
    if (config.numLocalExperts > 0) {
      this.#moe = new GraniteMoe(context, config, `${prefix}.block_sparse_moe`, quantConfig);
    }
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('input_layernorm', this.#inputNorm);
    yield* this.#mixing.parameters();
    yield* prefixed('post_attention_layernorm', this.#postAttentionNorm);
    if (this.#moe) yield* prefixed('block_sparse_moe', this.#moe);
    yield* prefixed('shared_mlp', this.#sharedMlp);
  }

  forward(hiddenStates: Tensor, step: LayerStep): Tensor {
    const { backend } = this.#context;
    const mixed = this.#mixing.forward(this.#inputNorm.forward(hiddenStates), step);
    const residual = this.#residual(hiddenStates, mixed);
    const normed = this.#postAttentionNorm.forward(residual);
    if (!this.#moe) return this.#residual(residual, this.#sharedMlp.forward(normed));
    // First what may have the norm done by its first kernel.
    const forAll = this.#sharedMlp.forwardPartial(normed);
    const [routed, shared] = sumOverRanks(backend, [this.#moe.forwardPartial(normed), forAll]);
    return this.#residual(residual, backend.add(routed, shared));
  }

  #residual(hiddenStates: Tensor, change: Tensor): Tensor {
    return this.#context.backend.add(hiddenStates, scaled(this.#context, change, this.#residualMultiplier));
  }
}

/** Each token visits the experts with its largest logits, weighed by the softmax of these alone. */
class GraniteMoe implements Module {
  readonly #context: LayerContext;
  readonly #topK: number;
  readonly #router: ReplicatedLinear;
  readonly #experts: FusedMoe;

  constructor(context: LayerContext, config: GraniteMoeHybridConfig, prefix: string, quantConfig?: QuantizationConfig) {
    const { hiddenSize, numLocalExperts } = config;
    this.#context = context;
    this.#topK = config.numExpertsPerTok;
    const router = { bias: false, prefix: `${prefix}.router.layer`, quantConfig };
    this.#router = new ReplicatedLinear(context, hiddenSize, numLocalExperts, router, 'router');
    this.#experts = new FusedMoe(context, {
      numExperts: numLocalExperts,
      hiddenSize,
      intermediateSize: config.intermediateSize,
      activation: config.hiddenAct,
      gated: true,
      layout: 'stacked',
      inputName: 'input_linear',
      outputName: 'output_linear',
      prefix,
      quantConfig,
    });
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed('router.layer', this.#router, 'experts');
    yield* this.#experts.parameters();
  }

  forwardPartial(x: Tensor): RankSum {
    const options = { topK: this.#topK, scoring: 'softmax', renormalize: true } as const;
    return this.#experts.forwardPartial(x, this.#context.backend.topKRouting(this.#router.forward(x), options));
  }
}

export const graniteMoeHybrid: Architecture = {
  names: ['GraniteMoeHybridForCausalLM'],
  recognizes: (json) => getOwn(json, 'model_type') === 'granitemoehybrid',
  define: (json, stored) => {
    const config = readGraniteMoeHybridConfig(json, stored);
    const names = { embeddings: 'model.embed_tokens', layers: 'model.layers', finalNorm: 'model.norm' };
    return {
      config,
      embeddings: `${names.embeddings}.weight`,
      create: (context, quantConfig) => {
        const layer = (i: number, prefix: string) =>
          new GraniteLayer(context, config, config.layerTypes[i], prefix, quantConfig);
        return new DecoderLM(context, config, names, layer, quantConfig);
      },
      parameterName: (name) => (isSpare(name) ? undefined : name),
    };
  },
};
