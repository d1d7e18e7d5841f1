import type { TextTokenizer } from './tokenizer.ts';

/** What belongs to the text, and what comes in front of it. */
export interface DetokenizerOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
  /** Ids in front of the first one pushed. Their text is not given again, but decides whether a space follows it. */
  readonly prompt?: readonly number[] | undefined;
}

/** What stands for bytes that are no character, or not yet. */
const REPLACEMENT = '\uFFFD';

/** Tokens kept as context. Decoders look at the first token of what they decode and join at most 4 bytes. */
const CONTEXT_TOKENS = 8;

/**
 * Turns a stream of token ids into pieces of text whose concatenation is the text of all ids.
 *
 * Decoding token by token would be wrong: a character may be spread over several tokens, and decoders strip or add
 * spaces at the start. So a window of the last tokens is decoded as a whole each time, and what is new at its end is
 * the piece; the idea is that of vLLM's `detokenize_incrementally`. Cost per token is that of decoding the window.
 */
export class IncrementalDetokenizer {
  readonly #tokenizer: Pick<TextTokenizer, 'decode' | 'isVisible'>;
  readonly #skipSpecialTokens: boolean;
  #window: number[];
  /** Text of the window. */
  #text: string;
  /** How much of `#text` was given out, in UTF-16 units. */
  #given: number;

  constructor(tokenizer: Pick<TextTokenizer, 'decode' | 'isVisible'>, options: DetokenizerOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecialTokens = options.skipSpecialTokens ?? true;
    const visible = (options.prompt ?? []).filter((id) => tokenizer.isVisible(id, this.#skipSpecialTokens));
    this.#window = visible.slice(-CONTEXT_TOKENS);
    this.#text = this.#decode();
    this.#given = certainLength(this.#text);
  }

  /** The text that this id makes certain; '' while a character is incomplete. */
  push(id: number): string {
    if (!this.#tokenizer.isVisible(id, this.#skipSpecialTokens)) return '';
    this.#window.push(id);
    this.#text = this.#decode();
    const piece = this.#text.slice(this.#given, certainLength(this.#text));
    this.#given += piece.length;
    if (this.#window.length > 2 * CONTEXT_TOKENS) this.#trim();
    return piece;
  }

  /** The rest of the text, when no more ids follow. */
  flush(): string {
    const piece = this.#text.slice(this.#given);
    this.#given = this.#text.length;
    return piece;
  }

  /** What was held back stays held back: lengths are counted from the end, which the trimmed window shares. */
  #trim(): void {
    const held = this.#text.length - this.#given;
    this.#window = this.#window.slice(-CONTEXT_TOKENS);
    this.#text = this.#decode();
    this.#given = this.#text.length - held;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#window, { skipSpecialTokens: this.#skipSpecialTokens });
  }
}

/** All but one replacement character at the end: an incomplete character decodes to exactly one. */
function certainLength(text: string): number {
  return text.endsWith(REPLACEMENT) ? text.length - 1 : text.length;
}
