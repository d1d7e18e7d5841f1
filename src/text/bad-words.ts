import type { TextTokenizer } from './tokenizer.ts';

/** Gives a text's token ids, without special tokens around it. */
type Encode = (text: string) => Promise<ArrayLike<number>>;

/**
 * The token sequences of bad words. As in vLLM: each word as it begins a text, and as it follows a space if that has
 * the same number of tokens.
 */
export function badWordIds(words: readonly string[], tokenizer: TextTokenizer | undefined): number[][] {
  if (!tokenizer) return [];
  return words.flatMap((word) => {
    const [alone, after] = textsOf(word).map((text) => tokenizer.encode(text, { addSpecialTokens: false }));
    return sequencesOf(alone, after);
  });
}

/**
 * Like `badWordIds`, with an asynchronous encoder. Words are encoded one after the other, since there may be many.
 */
export async function encodeBadWords(words: readonly string[], encode: Encode): Promise<number[][]> {
  const sequences: number[][] = [];
  for (const word of words) {
    const [alone, after] = textsOf(word);
    sequences.push(...sequencesOf(Array.from(await encode(alone)), Array.from(await encode(after))));
  }
  return sequences;
}

function textsOf(word: string): [alone: string, after: string] {
  return [word, ` ${word.trimStart()}`];
}

function sequencesOf(alone: number[], after: number[]): number[][] {
  const isOther = alone.length === after.length && alone.some((id, i) => id !== after[i]);
  return [alone, ...(isOther ? [after] : [])].filter((ids) => ids.length > 0);
}
