import type { TokenLogprob } from '../../../engine/sample/token-logprob.ts';
import type { TokenTexts } from '../../../text/token-texts.ts';

/** `logprobs` of a choice of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  /** Null for a token with nothing before it. */
  readonly token_logprobs: (number | null)[];
  /** The token itself and the likeliest in its place. */
  readonly top_logprobs: (Record<string, number> | null)[];
  /** Position of each token in the choice's text, in UTF-16 units. */
  readonly text_offset: number[];
}

/** A token and the likeliest ones in its place. A prompt's first token has no logprob. */
export interface LoggedToken {
  readonly tokenId: number;
  readonly logprob: number | null;
  readonly topLogprobs?: readonly TokenLogprob[];
  /** Whether the text shows the token. Default: as the request says for special tokens. */
  readonly isShown?: ((offset: number) => boolean) | undefined;
}

/** Writes the logprobs of one choice; in a stream, part by part. */
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
