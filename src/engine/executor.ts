/** One sequence's part in a step. */
export interface ScheduledTokens {
  readonly slot: number;
  /** Tokens whose effect is already in the slot. */
  readonly numComputedTokens: number;
  /** Tokens to process now. */
  readonly tokenIds: readonly number[];
}

/** One step of the model over some sequences. */
export interface Batch {
  readonly sequences: readonly ScheduledTokens[];
  /** Which rows get logits: each sequence's last, or all; in the order of the sequences. None for one without tokens. */
  readonly logits: 'last' | 'all';
}

/** Runs steps of a loaded model, wherever its ranks live. */
export interface Executor {
  /** → logits (rows, vocabSize), row-major. */
  execute(batch: Batch): Promise<Float32Array<ArrayBuffer>>;
  dispose(): Promise<void>;
}
