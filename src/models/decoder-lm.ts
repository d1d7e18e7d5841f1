import { ArgumentError, ShardingError } from '../errors.ts';
import type { KvCacheSize } from '../layers/attention/kv-cache-shape.ts';
import { type RopeParameters, RotaryEmbedding } from '../layers/attention/rotary-embedding.ts';
import { VocabParallelEmbedding } from '../layers/linear/vocab-parallel-embedding.ts';
import type { MambaStateShape, MambaStateSize } from '../layers/mamba/mamba-state-shape.ts';
import type { KeptRows, ReplayedRows } from '../layers/mamba/mamba2-metadata.ts';
import { advancePreviousTokens, type PreviousTokenCache, previousTokens } from '../layers/mamba/previous-token.ts';
import type { MambaCacheParams, StateSpaceMixer } from '../layers/mamba/state-space-mixer.ts';
import { RMSNorm } from '../layers/norm/rms-norm.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import { type Module, type Parameter, prefixed } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { CausalLM, LayerPart, ModelConfig, ModelInput, PredictorInput } from './causal-lm.ts';
import type { DecoderLayer } from './decoder-layer.ts';
import type { MultiTokenPredictor } from './multi-token-predictor.ts';

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
  /** Makes the layers that guess further tokens: in the last stage. */
  readonly makePredictor?: (() => MultiTokenPredictor) | undefined;
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
  readonly replayWidths: readonly number[];
  readonly predictorSize: number;
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
  readonly #predictor: MultiTokenPredictor | undefined;
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
    // A predictor reads the embeddings, too.
    if (this.isFirstStage || (this.isLastStage && (tieWordEmbeddings || extras.makePredictor))) {
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
      this.#predictor = extras.makePredictor?.();
    }
    // Only keys that are stored show that heads are as wide as the config says.
    const rotates = this.#layers.some(({ attention }) => attention !== undefined);
    this.#rotary = rotates && config.rope ? new RotaryEmbedding(context, config.rope) : undefined;
    this.layerMap = this.#layers.map(({ parts }) => parts);
    this.stateShapes = this.#layers.flatMap(({ mixer }) => mixer?.getStateShape() ?? []);
    this.stateSizes = this.#layers.flatMap(({ mixer }) => mixer?.stateSize ?? []);
    this.keptWidths = this.#layers.flatMap(({ mixer }) => (mixer ? [mixer.keptWidths] : []));
    this.replayWidths = this.#layers.flatMap(({ mixer }) => mixer?.replayWidth ?? []);
    this.predictorSize = this.#predictor ? hiddenSize : 0;
    const own = this.#layers.flatMap(({ attention }) => attention?.cacheSize ?? []);
    this.kvCacheSizes = [...own, ...(this.#predictor?.kvCacheSizes ?? [])];
  }

  *parameters(): Iterable<readonly [string, Parameter]> {
    if (this.#embeddings) yield* prefixed(this.#names.embeddings, this.#embeddings);
    for (const [prefix, module] of this.#extras.borrowed ?? []) yield* prefixed(prefix, module);
    for (const [i, layer] of this.#layers.entries()) {
      yield* prefixed(`${this.#names.layers}.${this.#firstLayer + i}`, layer);
    }
    if (this.#finalNorm) yield* prefixed(this.#names.finalNorm, this.#finalNorm);
    if (this.#lmHead && this.#lmHead !== this.#embeddings) yield* prefixed('lm_head', this.#lmHead);
    if (this.#predictor) yield* this.#predictor.parameters();
  }

  forward({ inputIds, activations, cache, kvCache, lastHidden, metadata }: ModelInput): Tensor {
    const input = activations ? this.#received(activations) : this.#embed(inputIds);
    const { embedded } = input;
    const rotary = metadata?.attention && this.#rotary?.table(metadata.attention.positions);
    let { hiddenStates } = input; // (T, hidden)
    let [mixers, attentions] = [0, 0];
    for (const layer of this.#layers) {
      const before = hiddenStates;
      const step = {
        cache: layer.mixer && cache?.[mixers++],
        kvCache: layer.attention && kvCache?.[attentions++],
        metadata,
        rotary,
        embedded,
      };
      hiddenStates = this.#context.backend.part(before.shape, () => layer.forward(before, step));
    }
    if (this.#finalNorm) {
      const last = this.#finalNorm.forward(hiddenStates);
      if (this.#predictor && lastHidden && metadata) {
        const previous = previousTokens(this.#context.backend, last, lastHidden, metadata);
        const { attention } = metadata;
        const tokens = this.isFirstStage ? embedded : this.#embedded(inputIds);
        if (attention) this.#predictor.observe(tokens, previous, kvCache?.[attentions], attention);
      }
      return last;
    }
    return this.#extras.readsEmbedded ? this.#context.backend.concatColumns([hiddenStates, embedded]) : hiddenStates;
  }

  advance(
    cache: readonly MambaCacheParams[],
    rows: KeptRows,
    chunkSize: number,
    lastHidden?: PreviousTokenCache | undefined,
  ): void {
    for (const [i, mixer] of this.#mixers().entries()) mixer.advance(cache[i], rows, chunkSize);
    if (lastHidden) advancePreviousTokens(this.#context.backend, lastHidden, rows);
  }

  takeReplayed(cache: readonly MambaCacheParams[], rows: ReplayedRows): void {
    for (const [i, mixer] of this.#mixers().entries()) mixer.takeReplayed(cache[i], rows);
  }

  predict({ inputIds, previous, kvCache, metadata }: PredictorInput): Tensor {
    if (!this.#predictor) {
      throw new ArgumentError(
        'The model has no layers that guess tokens.',
        'Load it with a speculativeConfig for them.',
      );
    }
    const own = kvCache?.at(-1);
    return this.#predictor.forward(this.#embedded(inputIds), previous, { kvCache: own, metadata });
  }

  computeLogits(hiddenStates: Tensor): Tensor {
    if (!this.#lmHead) throw new ShardingError('Only the last stage of a model has an output head.');
    return scaled(this.#context, this.#lmHead.logits(hiddenStates), this.#config.logitsMultiplier);
  }

  #mixers(): StateSpaceMixer[] {
    return this.#layers.flatMap(({ mixer }) => mixer ?? []);
  }

  #embed(inputIds: Tensor): DecoderInput {
    if (!this.isFirstStage) {
      throw new ShardingError('A stage after the first takes the activations of the one before it, not tokens.');
    }
    const embedded = this.#embedded(inputIds);
    return { hiddenStates: embedded, embedded };
  }

  #embedded(inputIds: Tensor): Tensor {
    if (!this.#embeddings) throw new ShardingError('This stage of the model has no embeddings.');
    return scaled(this.#context, this.#embeddings.embed(inputIds), this.#config.embeddingMultiplier);
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
