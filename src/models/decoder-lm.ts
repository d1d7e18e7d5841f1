import type { Attention, KvCacheParams } from '../layers/attention/attention.ts';
import type { BatchMetadata } from '../layers/attention/attention-metadata.ts';
import type { KvCacheSize } from '../layers/attention/kv-cache-shape.ts';
import { type RopeParameters, RotaryEmbedding } from '../layers/attention/rotary-embedding.ts';
import { VocabParallelEmbedding } from '../layers/linear/vocab-parallel-embedding.ts';
import type { MambaCacheParams, MambaMixer2 } from '../layers/mamba/mamba-mixer2.ts';
import type { MambaStateShape, MambaStateSize } from '../layers/mamba/mamba-state-shape.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import { RMSNorm } from '../layers/rms-norm.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { CausalLM, LayerPart, ModelConfig, ModelInput } from './causal-lm.ts';

/** Inputs of a layer in a step, besides the hidden states. */
export interface LayerStep {
  /** State of the layer's mixer. Absent in a profile run. */
  readonly cache?: MambaCacheParams | undefined;
  /** Cache of the layer's attention. Absent in a profile run. */
  readonly kvCache?: KvCacheParams | undefined;
  readonly metadata?: BatchMetadata | undefined;
  /** Angles of this step's positions, for models that rotate. */
  readonly rotary?: Tensor | undefined;
  /** Input of the first layer: (T, hiddenSize). */
  readonly embedded: Tensor;
}

/** A layer of a decoder with its residuals: hidden states in, hidden states out. It has a mixer, attention, both or none. */
export interface DecoderLayer extends Module {
  readonly mixer?: MambaMixer2 | undefined;
  readonly attention?: Attention | undefined;
  readonly parts: readonly LayerPart[];
  forward(hiddenStates: Tensor, step: LayerStep): Tensor;
}

/** Config of a decoder, except for its layers. */
export interface DecoderConfig extends ModelConfig {
  readonly normEps: number;
  /** Factor of the embeddings. Default: 1. */
  readonly embeddingMultiplier?: number | undefined;
  /** Factor of the logits. Default: 1. */
  readonly logitsMultiplier?: number | undefined;
  /** Default: no layer rotates. */
  readonly rope?: RopeParameters | undefined;
}

/** Names of the weights in a checkpoint. */
export interface DecoderNames {
  readonly embeddings: string;
  /** Layer i's weights begin with `<layers>.<i>.`. */
  readonly layers: string;
  readonly finalNorm: string;
}

/** Embedding, layers, norm and head: what all architectures share. */
export class DecoderLM implements CausalLM {
  readonly stateShapes: readonly MambaStateShape[];
  readonly stateSizes: readonly MambaStateSize[];
  readonly kvCacheSizes: readonly KvCacheSize[];
  readonly layerMap: readonly (readonly LayerPart[])[];
  readonly #context: LayerContext;
  readonly #config: DecoderConfig;
  readonly #names: DecoderNames;
  readonly #embeddings: VocabParallelEmbedding;
  readonly #layers: readonly DecoderLayer[];
  readonly #finalNorm: RMSNorm;
  readonly #lmHead: VocabParallelEmbedding;
  readonly #rotary: RotaryEmbedding | undefined;

  /** @param makeLayer layer i, whose parts' prefix is `prefix`. */
  constructor(
    context: LayerContext,
    config: DecoderConfig,
    names: DecoderNames,
    makeLayer: (i: number, prefix: string) => DecoderLayer,
    quantConfig?: QuantizationConfig,
  ) {
    const { vocabSize, hiddenSize, tieWordEmbeddings } = config;
    const table = { vocabSize, hiddenSize, quantConfig };
    this.#context = context;
    this.#config = config;
    this.#names = names;
    this.#embeddings = new VocabParallelEmbedding(context, {
      ...table,
      role: tieWordEmbeddings ? 'head' : 'embedding',
      prefix: names.embeddings,
    });
    context.checkWeights(names.embeddings, this.#embeddings);
    const layers: DecoderLayer[] = [];
    while (layers.length < config.numHiddenLayers) {
      const prefix = `${names.layers}.${layers.length}`;
      const layer = makeLayer(layers.length, prefix);
      context.checkWeights(prefix, layer);
      layers.push(layer);
    }
    this.#layers = layers;
    this.#finalNorm = new RMSNorm(context, hiddenSize, config.normEps);
    this.#lmHead = tieWordEmbeddings
      ? this.#embeddings
      : new VocabParallelEmbedding(context, { ...table, role: 'head', prefix: 'lm_head' });
    // Only keys that are stored show that heads are as wide as the config says.
    const rotates = this.#layers.some(({ attention }) => attention !== undefined);
    this.#rotary = rotates && config.rope ? new RotaryEmbedding(context, config.rope) : undefined;
    this.layerMap = this.#layers.map(({ parts }) => parts);
    this.stateShapes = this.#layers.flatMap(({ mixer }) => mixer?.getStateShape() ?? []);
    this.stateSizes = this.#layers.flatMap(({ mixer }) => mixer?.stateSize ?? []);
    this.kvCacheSizes = this.#layers.flatMap(({ attention }) => attention?.cacheSize ?? []);
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    yield* prefixed(this.#names.embeddings, this.#embeddings);
    for (const [i, layer] of this.#layers.entries()) yield* prefixed(`${this.#names.layers}.${i}`, layer);
    yield* prefixed(this.#names.finalNorm, this.#finalNorm);
    if (this.#lmHead !== this.#embeddings) yield* prefixed('lm_head', this.#lmHead);
  }

  forward({ inputIds, cache, kvCache, metadata }: ModelInput): Tensor {
    const embedded = scaled(this.#context, this.#embeddings.embed(inputIds), this.#config.embeddingMultiplier);
    const rotary = metadata?.attention && this.#rotary?.table(metadata.attention.positions);
    let hiddenStates = embedded; // (T, hidden)
    let [mixers, attentions] = [0, 0];
    for (const layer of this.#layers) {
      hiddenStates = layer.forward(hiddenStates, {
        cache: layer.mixer && cache?.[mixers++],
        kvCache: layer.attention && kvCache?.[attentions++],
        metadata,
        rotary,
        embedded,
      });
    }
    return this.#finalNorm.forward(hiddenStates);
  }

  computeLogits(hiddenStates: Tensor): Tensor {
    return scaled(this.#context, this.#lmHead.logits(hiddenStates), this.#config.logitsMultiplier);
  }
}

/** x times a multiplier of the config; most are 1, or absent. */
export function scaled({ backend }: LayerContext, x: Tensor, multiplier = 1): Tensor {
  return multiplier === 1 ? x : backend.mulScalar(x, multiplier);
}
