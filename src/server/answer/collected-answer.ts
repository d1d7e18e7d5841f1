import type { HalfLives } from '../../engine/request/half-lives.ts';
import { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';

/** So many pieces of text are joined at a time: V8 keeps each piece that is only added, not its characters alone. */
const PIECES = 512;

/** One answer that comes bit by bit and is sent as a whole: kept in little memory, because there may be many and long ones. */
export class CollectedAnswer {
  /** Where the writer needs them. */
  readonly tokens: LogprobColumns | undefined;
  finishReason: CompletionOutput['finishReason'] = null;
  stopReason: CompletionOutput['stopReason'] = null;
  /** The latest report. */
  halfLives: HalfLives | undefined;
  readonly #texts: string[] = [];
  readonly #pieces: string[] = [];

  /** @param topLogprobs that each token has at most; undefined: tokens are not kept. */
  constructor(topLogprobs: number | undefined) {
    this.tokens = topLogprobs === undefined ? undefined : new LogprobColumns(topLogprobs);
  }

  add({ text, tokens, finishReason, stopReason }: CompletionOutput): void {
    this.#pieces.push(text);
    if (this.#pieces.length >= PIECES) this.#texts.push(this.#pieces.splice(0).join(''));
    for (const token of tokens) {
      this.tokens?.push(token);
      this.halfLives = token.halfLives ?? this.halfLives;
    }
    this.finishReason = finishReason;
    this.stopReason = stopReason;
  }

  get text(): string {
    return [...this.#texts, ...this.#pieces].join('');
  }

  /** A list of the ids, made when it is written. */
  *tokenIds(): Generator<number, void> {
    for (const { tokenId } of this.tokens ?? []) yield tokenId;
  }
}
