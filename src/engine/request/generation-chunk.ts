import type { PromptLogprobs } from './logprob-columns.ts';
import type { FinishReason, OutputToken, RequestOutput } from './request-output.ts';

/** One generated token. */
export interface GenerationChunk extends OutputToken {
  /** Number of its answer among the `n`, from 0 on. */
  readonly index: number;
  /** Reason why the answer ended; null before its last chunk. */
  readonly finishReason: FinishReason | null;
  /** The stop string or token that ended the answer; null for the model's own end of text. */
  readonly stopReason: string | number | null;
  /** On the first chunk, where `promptLogprobs` asks for it: one entry per prompt token, null for the first. */
  readonly promptLogprobs?: PromptLogprobs;
}

/** An output token by token. */
export function* generationChunks({ outputs, promptLogprobs }: RequestOutput): Generator<GenerationChunk, void> {
  let first = promptLogprobs && { promptLogprobs };
  for (const { index, tokens, finishReason, stopReason } of outputs) {
    for (const [i, token] of tokens.entries()) {
      const isLast = i === tokens.length - 1;
      const end = { finishReason: isLast ? finishReason : null, stopReason: isLast ? stopReason : null };
      yield { ...token, index, ...end, ...first };
      first = undefined;
    }
  }
}
