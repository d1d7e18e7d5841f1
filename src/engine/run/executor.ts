import type { TokenSampling } from '../../backends/contract/sampling.ts';

/** One sequence's part in a step. */
export interface ScheduledTokens {
  readonly slot: number;
  /** Tokens whose effect is already in the slot. */
  readonly numComputedTokens: number;
  /**
   * Tokens to process now. LAST_SAMPLED, alone: the one that the executor chose in the step before, in which no sequence had
   * tentative tokens.
   */
  readonly tokenIds: readonly number[];
  /** Blocks of the key-value cache, in order of position, for all tokens up to these; for models with attention. */
  readonly blocks?: readonly number[] | undefined;
  /** The sequence's rows that get logits. Default: as the batch says. */
  readonly logits?: LogitsRows | undefined;
  /**
   * Instructions for choosing the token after each row that gets logits, instead of giving these. Only for an executor that
   * samples.
   */
  readonly sampling?: readonly TokenSampling[] | undefined;
  /** Whether logits are given besides the tokens that are chosen from them. Default: false. */
  readonly givesLogits?: boolean | undefined;
  /**
   * Whether it is not known yet how many of the tokens count. Then the slot keeps its state, and the tokens' inputs are
   * kept until an `advance` tells, or other tentative tokens come. Default: false.
   */
  readonly isTentative?: boolean | undefined;
  /** Whether to tell how much its state decays over these tokens. Default: false. */
  readonly watch?: boolean | undefined;
}

/** A sequence's last row, or all. None for a sequence without tokens. */
export type LogitsRows = 'last' | 'all';

/**
 * An operation on whole states or blocks. A snapshot is a copy of a slot that the ranks keep besides the slots, under
 * a number that the caller chose and uses once. The blocks of its tokens stay where they are: the caller sees to that.
 */
export type StateCommand =
  | { readonly type: 'copy'; readonly from: number; readonly to: number }
  /** `length`: the tokens whose effect is in the slot, where the last step may have ended before it (LAST_SAMPLED). */
  | { readonly type: 'save'; readonly slot: number; readonly snapshot: number; readonly length?: number | undefined }
  | { readonly type: 'load'; readonly snapshot: number; readonly slot: number }
  | { readonly type: 'release'; readonly snapshot: number }
  /** Takes the first `numTokens` of the slot's tentative tokens into its state. */
  | { readonly type: 'advance'; readonly slot: number; readonly numTokens: number }
  | { readonly type: 'copyBlock'; readonly from: number; readonly to: number }
  /** Drops all snapshots after an OutOfMemoryError, before all other commands. No slot holds a state after it. */
  | { readonly type: 'reset' };

/** One step of the model over some sequences. */
export interface Batch {
  /** Carried out first, in this order. */
  readonly commands?: readonly StateCommand[] | undefined;
  /** None: the step carries out its commands and gives no logits. */
  readonly sequences: readonly ScheduledTokens[];
  /** The rows that get logits, in the order of the sequences. */
  readonly logits: LogitsRows;
  /** For a stage after the first: what the stage before gave for this batch. */
  readonly activations?: Float32Array | undefined;
}

/**
 * Decay of states over a step, as a logarithm: for each watched sequence, layer and head Σ A Δ over its tokens,
 * see `logDecaySums`.
 */
export interface LogDecays {
  /** Heads of each layer with such a state. */
  readonly heads: readonly number[];
  /** Per watched sequence, in their order, the heads of all layers. */
  readonly sums: Float32Array<ArrayBuffer>;
}

/** A sequence whose next tokens the model's own layers guess. */
export interface GuessedSequence {
  readonly slot: number;
  /** Tokens whose effect is in the slot: all but the last one of the text. */
  readonly numComputedTokens: number;
  /** The last token of the text. */
  readonly tokenId: number;
  /** Blocks of the key-value cache for the text and all but the last guessed token; for models with attention. */
  readonly blocks: readonly number[];
}

/** Guesses of a model with layers for them. */
export interface GuessBatch {
  /** Carried out first, in this order. */
  readonly commands: readonly StateCommand[];
  readonly sequences: readonly GuessedSequence[];
  /** Tokens to guess of each sequence, at least one. */
  readonly count: number;
}

/** Results of a step. */
export interface StepOutput {
  /** (rows, vocabSize), row-major: of the sequences without `sampling`, and of those that ask for them besides. */
  readonly logits: Float32Array<ArrayBuffer>;
  /** (rows, 2), of the sequences with `sampling`: see SamplingOps.sampleTokens. */
  readonly sampled?: Float32Array<ArrayBuffer> | undefined;
  /** Present if a sequence is watched. */
  readonly logDecays?: LogDecays | undefined;
  /** From a stage before the last, in place of logits: (rows, activationSize), in an order that all stages share. */
  readonly activations?: Float32Array<ArrayBuffer> | undefined;
}

/** Size of one sequence's state. */
export interface StateFootprint {
  /** Over all ranks, with what several ranks hold. */
  readonly bytes: number;
  /** Numbers in a state that `Executor.exportState` gives, without keys and values. */
  readonly length: number;
  /** Absent where no layer has attention. */
  readonly kvCache?: KvCacheFootprint | undefined;
}

/** The blocks that keys and values lie in. */
export interface KvCacheFootprint {
  readonly numBlocks: number;
  /** Tokens per block. */
  readonly blockSize: number;
  /** Bytes of one block on all ranks together. */
  readonly blockBytes: number;
  /** Numbers per token in a state that `Executor.exportState` gives. */
  readonly tokenLength: number;
  /** Last tokens of a text whose entries are written with the tokens that follow. Default: 0. */
  readonly lag?: number | undefined;
}

/** Place at which the ranks keep the state after some tokens. */
export interface StatePlace {
  /** Number of the snapshot. Undefined: the keys and values of the tokens alone. */
  readonly id: number | undefined;
  /** Tokens whose keys and values lie in the blocks. */
  readonly length: number;
  readonly blocks: readonly number[];
}

/** Number of values that a place exports. */
export function exportedLength({ length, kvCache }: StateFootprint, place: Pick<StatePlace, 'id' | 'length'>): number {
  return (place.id === undefined ? 0 : length) + place.length * (kvCache?.tokenLength ?? 0);
}

/** Runs steps of a loaded model, wherever its ranks live. Calls are carried out one after another, in their order. */
export interface Executor {
  readonly stateFootprint: StateFootprint;
  /** Tokens that a step takes at most. */
  readonly maxBatchedTokens?: number | undefined;
  /** Prompts are divided into steps at multiples of so many tokens, see Backend. Default: 1. */
  readonly promptAlignment?: number | undefined;
  /** Whether it can choose tokens itself. Then a step may be begun before the output of the last one is there. */
  readonly samplesTokens?: boolean | undefined;
  /** Steps that it works on at the same time: as many as it has stages. Default: 1. */
  readonly maxConcurrentBatches?: number | undefined;
  /** Resolves, with the reason, when it can run no step any more and was not disposed of. Absent: a step would tell. */
  readonly failed?: Promise<Error> | undefined;
  /**
   * Rejects with OutOfMemoryError where memory is missing. It can be used again then, but its states are lost: until a batch
   * begins with a `reset`, all that it is asked for rejects in the same way.
   */
  execute(batch: Batch): Promise<StepOutput>;
  /**
   * The likeliest next tokens of sequences, as layers of the model guess them: (sequences, count). States stay as they are. Absent
   * where no model can have such layers. Rejects as `execute` does.
   */
  guess?(batch: GuessBatch): Promise<Int32Array<ArrayBuffer>>;
  /** Takes back logits that are no longer needed: a later step may return others in their memory. Optional. */
  recycle?(logits: Float32Array<ArrayBuffer>): void;
  /**
   * A snapshot's state in one piece, as one rank alone would hold it, for any number of ranks; after it the keys of the
   * place's tokens and their values, layer by layer.
   */
  exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>>;
  /** Takes such a state as a snapshot. @throws ShapeError when it has another length than this model's states. */
  importState(place: StatePlace, state: Float32Array): Promise<void>;
  dispose(): Promise<void>;
}
