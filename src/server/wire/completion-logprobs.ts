import type { TokenText, TokenWithTop } from './token-text.ts';

/** `logprobs` of a choice of /v1/completions. */
export interface CompletionLogprobs {
  readonly tokens: string[];
  /** null where nothing stands before the token. */
  readonly token_logprobs: (number | null)[];
  /** The token itself and the likeliest in its place. */
  readonly top_logprobs: (Record<string, number> | null)[];
  /** Where the token begins in the choice's text. */
  readonly text_offset: number[];
}

/** Writes the logprobs of one choice; in a stream, piece by piece. */
export class CompletionLogprobsWriter {
  readonly #tokenText: TokenText;
  #offset = 0;

  constructor(tokenText: TokenText) {
    this.#tokenText = tokenText;
  }

  /** @param tokens null: the first of a prompt, whose id is given. */
  write(tokens: readonly (TokenWithTop | { readonly tokenId: number; readonly logprob: null })[]): CompletionLogprobs {
    const written: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
    for (const token of tokens) {
      const text = this.#tokenText(token.tokenId);
      written.tokens.push(text);
      written.token_logprobs.push(token.logprob);
      written.top_logprobs.push(token.logprob === null ? null : this.#top(token));
      written.text_offset.push(this.#offset);
      this.#offset += text.length;
    }
    return written;
  }

  /** Tokens of the same text share an entry: the likeliest's. */
  #top({ tokenId, logprob, topLogprobs = [] }: TokenWithTop): Record<string, number> {
    const top = new Map<string, number>();
    for (const each of [...topLogprobs, { tokenId, logprob }]) {
      const text = this.#tokenText(each.tokenId);
      top.set(text, Math.max(top.get(text) ?? Number.NEGATIVE_INFINITY, each.logprob));
    }
    return Object.fromEntries(top);
  }
}
