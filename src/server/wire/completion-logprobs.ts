import type { TokenLogprob } from '../../engine/sample/token-logprob.ts';
import type { TokenTexts } from '../../text/token-texts.ts';

/** `logprobs` of a choice of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  /** null where nothing stands before the token. */
  readonly token_logprobs: (number | null)[];
  /** The token itself and the likeliest in its place. */
  readonly top_logprobs: (Record<string, number> | null)[];
  /** Where the token begins in the choice's text, in UTF-16 units. */
  readonly text_offset: number[];
}

/** A token and the likeliest in its place; without a logprob the first of a prompt. */
export interface LoggedToken {
  readonly tokenId: number;
  readonly logprob: number | null;
  readonly topLogprobs?: readonly TokenLogprob[];
  /** Whether the text has it. Default: as the request shows special tokens. */
  readonly isShown?: ((offset: number) => boolean) | undefined;
}

/** Writes the logprobs of one choice; in a stream, piece by piece. */
export class CompletionLogprobsWriter {
  readonly #texts: TokenTexts;

  constructor(texts: TokenTexts) {
    this.#texts = texts;
  }

  /** @param isEnd no further tokens follow */
  write(tokens: readonly LoggedToken[], isEnd: boolean): CompletionLogprobs {
    const written: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const [i, { tokenId: id, logprob, topLogprobs = [], isShown }] of tokens.entries()) {
      const others = topLogprobs.map(({ tokenId }) => tokenId);
      const isLast = isEnd && i === tokens.length - 1;
      const place = this.#texts.next({ id, others, isShown: isShown?.(this.#texts.offset), isLast });
      written.tokens.push(place.token);
      written.token_logprobs.push(logprob);
      const top = place.others.map(({ token }, n) => [token, topLogprobs[n].logprob] as const);
      written.top_logprobs.push(logprob === null ? null : Object.fromEntries([...top, [place.token, logprob]]));
      written.text_offset.push(place.offset);
    }
    return written;
  }
}
