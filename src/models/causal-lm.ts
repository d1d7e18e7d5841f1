import type { JsonObject } from '../checkpoint/json/json.ts';
import type { KvCacheParams } from '../layers/attention/attention.ts';
import type { BatchMetadata } from '../layers/attention/attention-metadata.ts';
import type { KvCacheSize } from '../layers/attention/kv-cache-shape.ts';
import type { MambaStateShape, MambaStateSize } from '../layers/mamba/mamba-state-shape.ts';
import type { KeptRows, ReplayedRows } from '../layers/mamba/mamba2-metadata.ts';
import type { PreviousTokenCache } from '../layers/mamba/previous-token.ts';
import type { MambaCacheParams } from '../layers/mamba/state-space-mixer.ts';
import type { LayerContext } from '../layers/parameters/layer-context.ts';
import type { Module } from '../layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../layers/parameters/quantization.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A batch's tokens and where they belong. */
export interface ModelInput {
  /** (T) int32, rows in the metadata's order. */
  readonly inputIds: Tensor;
  /** (T, activationSize), in place of the tokens: what the stage before returned. Absent in the first stage. */
  readonly activations?: Tensor | undefined;
  /** One entry per mixer, in layer order. Absent in a profile run. */
  readonly cache?: readonly MambaCacheParams[];
  /** One entry per attention layer, in layer order. Absent in a profile run, and where there is none. */
  readonly kvCache?: readonly KvCacheParams[] | undefined;
  /** Outputs for the slots' last tokens, for a model with a {@link CausalLM.predictorSize}. Absent in a profile run. */
  readonly lastHidden?: PreviousTokenCache | undefined;
  readonly metadata?: BatchMetadata;
}

/** Tokens of which a model guesses what follows: one of each sequence. */
export interface PredictorInput {
  /** (B) int32 */
  readonly inputIds: Tensor;
  /** (B, hiddenSize): what the model gave for the token before, or {@link CausalLM.predict} if that was a guess. */
  readonly previous: Tensor;
  /** Like that of {@link ModelInput}. */
  readonly kvCache?: readonly KvCacheParams[] | undefined;
  /** Metadata of the tokens before: these tokens' keys and values go to the places of those. */
  readonly metadata: BatchMetadata;
}

/** Part that a layer is made of. */
export type LayerPart = 'mixer' | 'attention' | 'feed-forward' | 'experts';

/**
 * A language model on one rank: token ids to hidden states, hidden states to logits. Of a model that several stages hold,
 * one stage's layers; shapes, sizes and parts are those of these layers.
 */
export interface CausalLM extends Module {
  /** Whether it begins with the embeddings. */
  readonly isFirstStage: boolean;
  /** Whether it ends with the final norm and the output head. */
  readonly isLastStage: boolean;
  /** Numbers per token that cross from one stage to the next. */
  readonly activationSize: number;
  /** State of one sequence on this rank, per mixer. */
  readonly stateShapes: readonly MambaStateShape[];
  /** State of one sequence over all ranks, per mixer. */
  readonly stateSizes: readonly MambaStateSize[];
  /** Columns, per mixer, of what its state needs to know of a token: see {@link StateSpaceMixer.keptWidths}. */
  readonly keptWidths: readonly (readonly number[])[];
  /** Columns, per mixer, of the inputs by which it takes a token into its state again. */
  readonly replayWidths: readonly number[];
  /** Columns of what it keeps of each slot's last token; 0: it has no layers that guess further tokens. */
  readonly predictorSize: number;
  /** Key-value cache over all ranks, per attention layer; `kvCacheShape` is a rank's. Layers that guess come last. */
  readonly kvCacheSizes: readonly KvCacheSize[];
  /** Parts of each layer. */
  readonly layerMap: readonly (readonly LayerPart[])[];
  /** → (T, hiddenSize), after the final norm; of a stage before the last, (T, activationSize) for the next. */
  forward(input: ModelInput): Tensor;
  /** Takes tentative tokens into the states of all mixers, from their kept inputs. */
  advance(
    cache: readonly MambaCacheParams[],
    rows: KeptRows,
    chunkSize: number,
    lastHidden?: PreviousTokenCache | undefined,
  ): void;
  /** Takes the tokens that slots' states lack into those of all mixers. */
  takeReplayed(cache: readonly MambaCacheParams[], rows: ReplayedRows): void;
  /** → (B, hiddenSize), of which `computeLogits` makes guesses. @throws ArgumentError in a model that has no layers for it. */
  predict(input: PredictorInput): Tensor;
  /** (R, hiddenSize) → (R, vocabSize). @throws ShardingError in a stage before the last. */
  computeLogits(hiddenStates: Tensor): Tensor;
}

/** Properties of every architecture's config that the engine uses. */
export interface ModelConfig {
  readonly architecture: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  /** Tokens per block of the scan. */
  readonly chunkSize: number;
  /** Whether the output head is the embeddings' table. */
  readonly tieWordEmbeddings: boolean;
  /** Heads that a number of ranks must divide. Absent: any number of ranks shares the model. */
  readonly numHeads?: number | undefined;
  /** End-of-text tokens that config.json names; `LLM.eosTokenIds` has all tokens that end a text. */
  readonly eosTokenIds: readonly number[];
}

/** A model that a config.json describes, before it has weights. */
export interface ModelDefinition {
  readonly config: ModelConfig;
  /** The model's own name of the embeddings' table. */
  readonly embeddings: string;
  create(context: LayerContext, quantConfig?: QuantizationConfig): CausalLM;
  /** Whether the model has layers of its own that guess further tokens. Default: false. */
  readonly predicts?: boolean | undefined;
  /** The model's own name of a checkpoint tensor; undefined for one that it does not need. */
  parameterName(checkpointName: string): string | undefined;
  /** What a user should know of the model that is made: parts of the checkpoint that it leaves out. */
  readonly note?: string | undefined;
}

/** What is asked of a model besides its config. */
export interface DefineOptions {
  /** Whether the output head is a separate tensor, although the config ties it. Default: false. */
  readonly untieHead?: boolean | undefined;
  /** Whether the model's own layers for multi-token prediction are made. Default: false. */
  readonly mtp?: boolean | undefined;
}

/** One architecture: it recognises its configs, and defines the models that they describe. */
export interface Architecture {
  /** Names in config.json's `architectures`. */
  readonly names: readonly string[];
  /** Whether a config without `architectures` is meant for this one. */
  recognizes(json: JsonObject): boolean;
  /**
   * @param stored names of the checkpoint's tensors, for models that writers store in several ways.
   * @param options.mtp whether to make the layers that guess further tokens, if there are any.
   * @throws ConfigError
   */
  define(json: JsonObject, stored: ReadonlySet<string>, options: DefineOptions): ModelDefinition;
}
