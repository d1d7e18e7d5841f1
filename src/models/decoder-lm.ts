import { ShardingError } from '../errors.ts';
import type { Attention, KvCacheParams } from '../layers/attention/attention.ts';
import type { BatchMetadata } from '../layers/attention/attention-metadata.ts';
import type { KvCacheSize } from '../layers/attention/kv-cache-shape.ts';
import { type RopeParameters, RotaryEmbedding } from '../layers/attention/rotary-embedding.ts';
import { VocabParallelEmbedding } from '../layers/linear/vocab-parallel-embedding.ts';
import type { MambaStateShape, MambaStateSize } from '../layers/mamba/mamba-state-shape.ts';
import type { KeptRows } from '../layers/mamba/mamba2-metadata.ts';
import type { MambaCacheParams, StateSpaceMixer } from '../layers/mamba/state-space-mixer.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
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
  /** Input of the model's first layer, for layers that read it: (T, hiddenSize). */
  readonly embedded: Tensor;
}

/** A layer of a decoder with its residuals: hidden states in, hidden states out. It has a mixer, attention, both or none. */
export interface DecoderLayer extends Module {
  readonly mixer?: StateSpaceMixer | undefined;
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
  /** What the last norm's weights lack in the checkpoint. Default: 0. */
  readonly finalNormOffset?: number | undefined;
  /** Default: no layer rotates. */
  readonly rope?: RopeParameters | undefined;
}

/** Properties that few architectures have. */
export interface DecoderExtras {
  /** Modules of earlier stages' layers that this stage's layers use, too, by the whole beginning of their weights' names. */
  readonly borrowed?: ReadonlyMap<string, Module>;
  /** Whether layers read the embeddings besides the hidden states: then both cross from stage to stage. Default: false. */
  readonly readsEmbedded?: boolean;
}

/** Names of the weights in a checkpoint. */
export interface DecoderNames {
  readonly embeddings: string;
  /** Layer i's weights begin with `<layers>.<i>.`. */
  readonly layers: string;
  readonly finalNorm: string;
}

/** Hidden states, and the embeddings that they began as. */
interface DecoderInput {
  readonly hiddenStates: Tensor;
  readonly embedded: Tensor;
}

/**
 * Embedding, layers, norm and head: what all architectures share. With a stage in its context it has the stage's layers,
 * the embedding if it is the first, and norm and head if it is the last: a table that ties both is in both.
 */
export class DecoderLM implements CausalLM {
  readonly isFirstStage: boolean;
  readonly isLastStage: boolean;
  readonly activationSize: number;
  readonly stateShapes: readonly MambaStateShape[];
  readonly stateSizes: readonly MambaStateSize[];
  readonly keptWidths: readonly (readonly number[])[];
  readonly kvCacheSizes: readonly KvCacheSize[];
  readonly layerMap: readonly (readonly LayerPart[])[];
  readonly #context: LayerContext;
  readonly #config: DecoderConfig;
  readonly #names: DecoderNames;
  readonly #extras: DecoderExtras;
  readonly #firstLayer: number;
  readonly #embeddings: VocabParallelEmbedding | undefined;
  readonly #layers: readonly DecoderLayer[];
  readonly #finalNorm: RMSNorm | undefined;
  readonly #lmHead: VocabParallelEmbedding | undefined;
  readonly #rotary: RotaryEmbedding | undefined;

  /** @param makeLayer layer i, whose parts' prefix is `prefix`. */
  constructor(
    context: LayerContext,
    config: DecoderConfig,
    names: DecoderNames,
    makeLayer: (i: number, prefix: string) => DecoderLayer,
    quantConfig?: QuantizationConfig,
    extras: DecoderExtras = {},
  ) {
    const { vocabSize, hiddenSize, numHiddenLayers, tieWordEmbeddings } = config;
    const { begin, end } = context.stage ?? { begin: 0, end: numHiddenLayers };
    const table = { vocabSize, hiddenSize, quantConfig };
    this.#context = context;
    this.#config = config;
    this.#names = names;
    this.#extras = extras;
    this.#firstLayer = begin;
    this.isFirstStage = begin === 0;
    this.isLastStage = end === numHiddenLayers;
    this.activationSize = extras.readsEmbedded ? 2 * hiddenSize : hiddenSize;
    if (this.isFirstStage || (this.isLastStage && tieWordEmbeddings)) {
      this.#embeddings = new VocabParallelEmbedding(context, {
        ...table,
        role: tieWordEmbeddings ? 'head' : 'embedding',
        prefix: names.embeddings,
      });
      context.checkWeights(names.embeddings, this.#embeddings);
    }
    const layers: DecoderLayer[] = [];
    for (let i = begin; i < end; i++) {
      const prefix = `${names.layers}.${i}`;
      const layer = makeLayer(i, prefix);
      context.checkWeights(prefix, layer);
      layers.push(layer);
    }
    this.#layers = layers;
    if (this.isLastStage) {
      this.#finalNorm = new RMSNorm(context, hiddenSize, config.normEps, config.finalNormOffset);
      this.#lmHead = tieWordEmbeddings
        ? this.#embeddings
        : new VocabParallelEmbedding(context, { ...table, role: 'head', prefix: 'lm_head' });
    }
    // Only keys that are stored show that heads are as wide as the config says.
    const rotates = this.#layers.some(({ attention }) => attention !== undefined);
    this.#rotary = rotates && config.rope ? new RotaryEmbedding(context, config.rope) : undefined;
    this.layerMap = this.#layers.map(({ parts }) => parts);
    this.stateShapes = this.#layers.flatMap(({ mixer }) => mixer?.getStateShape() ?? []);
    this.stateSizes = this.#layers.flatMap(({ mixer }) => mixer?.stateSize ?? []);
    this.keptWidths = this.#layers.flatMap(({ mixer }) => (mixer ? [mixer.keptWidths] : []));
    this.kvCacheSizes = this.#layers.flatMap(({ attention }) => attention?.cacheSize ?? []);
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    if (this.#embeddings) yield* prefixed(this.#names.embeddings, this.#embeddings);
    for (const [prefix, module] of this.#extras.borrowed ?? []) yield* prefixed(prefix, module);
    for (const [i, layer] of this.#layers.entries()) {
      yield* prefixed(`${this.#names.layers}.${this.#firstLayer + i}`, layer);
    }
    if (this.#finalNorm) yield* prefixed(this.#names.finalNorm, this.#finalNorm);
    if (this.#lmHead && this.#lmHead !== this.#embeddings) yield* prefixed('lm_head', this.#lmHead);
  }

  forward({ inputIds, activations, cache, kvCache, metadata }: ModelInput): Tensor {
    const input = activations ? this.#received(activations) : this.#embed(inputIds);
    const { embedded } = input;
    const rotary = metadata?.attention && this.#rotary?.table(metadata.attention.positions);
    let { hiddenStates } = input; // (T, hidden)
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
    if (this.#finalNorm) return this.#finalNorm.forward(hiddenStates);
    return this.#extras.readsEmbedded ? this.#context.backend.concatColumns([hiddenStates, embedded]) : hiddenStates;
  }

  advance(cache: readonly MambaCacheParams[], rows: KeptRows, chunkSize: number): void {
    const mixers = this.#layers.flatMap(({ mixer }) => mixer ?? []);
    for (const [i, mixer] of mixers.entries()) mixer.advance(cache[i], rows, chunkSize);
  }

  computeLogits(hiddenStates: Tensor): Tensor {
    if (!this.#lmHead) throw new ShardingError('Only the last stage of a model has an output head.');
    return scaled(this.#context, this.#lmHead.logits(hiddenStates), this.#config.logitsMultiplier);
  }

  #embed(inputIds: Tensor): DecoderInput {
    if (!this.isFirstStage || !this.#embeddings) {
      throw new ShardingError('A stage after the first takes the activations of the one before it, not tokens.');
    }
    const embedded = scaled(this.#context, this.#embeddings.embed(inputIds), this.#config.embeddingMultiplier);
    return { hiddenStates: embedded, embedded };
  }

  #received(activations: Tensor): DecoderInput {
    if (!this.#extras.readsEmbedded) return { hiddenStates: activations, embedded: activations };
    const { hiddenSize } = this.#config;
    const [hiddenStates, embedded] = this.#context.backend.splitColumns(activations, [hiddenSize, hiddenSize]);
    return { hiddenStates, embedded };
  }
}

/** x times a multiplier of the config; most are 1, or absent. */
export function scaled({ backend }: LayerContext, x: Tensor, multiplier = 1): Tensor {
  return multiplier === 1 ? x : backend.mulScalar(x, multiplier);
}
