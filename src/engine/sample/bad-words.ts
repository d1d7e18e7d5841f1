import type { TextTokenizer } from '../../text/tokenizer.ts';

/** Bad words as token ids. Requests that share a list share its encoding, which takes long. */
export class BadWords {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #known = new WeakMap<readonly string[], readonly (readonly number[])[]>();

  constructor(tokenizer: TextTokenizer | undefined) {
    this.#tokenizer = tokenizer;
  }

  tokenIds(words: readonly string[]): readonly (readonly number[])[] {
    const tokenizer = this.#tokenizer;
    if (!tokenizer || words.length === 0) return [];
    const known = this.#known.get(words) ?? words.flatMap((word) => wordTokenIds(word, tokenizer));
    this.#known.set(words, known);
    return known;
  }
}

/** As vLLM does: the word as it begins a text and as it follows a space, where that is as many tokens. */
function wordTokenIds(word: string, tokenizer: TextTokenizer): number[][] {
  const [alone, after] = [word, ` ${word.trimStart()}`].map((text) =>
    tokenizer.encode(text, { addSpecialTokens: false }),
  );
  const isOther = alone.length === after.length && alone.some((id, i) => id !== after[i]);
  return [alone, ...(isOther ? [after] : [])].filter((ids) => ids.length > 0);
}
