import type { CompletionOutput, FinishReason, OutputToken } from './request-output.ts';

/** One generated token. */
export interface GenerationChunk extends OutputToken {
  /** Number of its answer among the `n`, from 0 on. */
  readonly index: number;
  /** Reason why the answer ended; null before its last chunk. */
  readonly finishReason: FinishReason | null;
  /** The stop string or token that ended the answer; null for the model's own end of text. */
  readonly stopReason: string | number | null;
}

/** Outputs token by token. */
export function* generationChunks(outputs: readonly CompletionOutput[]): Generator<GenerationChunk, void> {
  for (const { index, tokens, finishReason, stopReason } of outputs) {
    for (const [i, token] of tokens.entries()) {
      const isLast = i === tokens.length - 1;
      yield { ...token, index, finishReason: isLast ? finishReason : null, stopReason: isLast ? stopReason : null };
    }
  }
}
