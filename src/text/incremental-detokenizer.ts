import type { TextPlace } from './token-decoder.ts';
import type { TextTokenizer } from './tokenizer.ts';
import { Utf8Stream } from './utf8-stream.ts';

/** Options that say which tokens belong to the text, and which come before it. */
export interface DetokenizerOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
  /** Ids before the first one pushed. Their text is not returned again, but decides whether a space follows it. */
  readonly prompt?: readonly number[] | undefined;
}

/** A token's contribution to a text. */
export interface TokenText {
  /** Text that the token makes certain: '' while a character is incomplete, and then the whole character. */
  readonly text: string;
  /** The token's own bytes, which may be parts of characters. */
  readonly bytes: Uint8Array;
}

/** Tokens kept as context: a character has at most four bytes, and a decoder looks at the token before. */
const CONTEXT_TOKENS = 8;

/**
 * Turns a stream of token ids into pieces of text whose concatenation is the text of all ids. A character may be spread
 * over several tokens, and decoders strip a space at the start; so a token's text depends on those before it.
 */
export class IncrementalDetokenizer {
  readonly #tokenizer: Pick<TextTokenizer, 'isVisible' | 'placeToken' | 'textBegin'>;
  readonly #skipSpecialTokens: boolean;
  readonly #characters = new Utf8Stream();
  #place: TextPlace;

  constructor(
    tokenizer: Pick<TextTokenizer, 'isVisible' | 'placeToken' | 'textBegin'>,
    { skipSpecialTokens = true, prompt = [] }: DetokenizerOptions = {},
  ) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = skipSpecialTokens;
    this.#place = tokenizer.textBegin();
    const context: number[] = [];
    for (let i = prompt.length - 1; i >= 0 && context.length < CONTEXT_TOKENS; i--) {
      if (tokenizer.isVisible(prompt[i], skipSpecialTokens)) context.unshift(prompt[i]);
    }
    for (const id of context) this.push(id);
  }

  /** The text that this id makes certain; '' while a character is incomplete, and for a token that is left out. */
  push(id: number, isShown = this.#tokenizer.isVisible(id, this.#skipSpecialTokens)): string {
    if (!isShown) return '';
    const { bytes, next } = this.#tokenizer.placeToken(id, this.#place);
    this.#place = next;
    return this.#characters.push(bytes);
  }

  /**
   * Returns what `push` would return, and the token's own bytes. A token that the text leaves out is treated like
   * others.
   */
  peek(id: number): TokenText {
    const { bytes } = this.#tokenizer.placeToken(id, this.#place);
    return { text: this.#characters.peek(bytes), bytes };
  }

  /** Whether a character is incomplete. */
  get isInsideCharacter(): boolean {
    return this.#characters.isInsideCharacter;
  }

  /** The rest of the text, when no more ids follow. */
  flush(): string {
    return this.#characters.flush();
  }
}
