import type { StructuredOutputs } from '../../src/grammar/forms/structured-outputs.ts';
import { Grammars } from '../../src/grammar/grammars.ts';
import { hasBit } from '../../src/grammar/token-bits.ts';
import type { TextTokenizer } from '../../src/text/tokenizer.ts';

/** Tokens that bring a long answer to its end. */
const CLOSING = /^[\s"\]},:0-9a-f]*$/;

/** A generator of numbers in [0, 1), the same for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Answers of a model that knows nothing: each token is any that the form allows. */
export class RandomAnswers {
  readonly grammars: Grammars;
  readonly #tokenizer: TextTokenizer;
  readonly #endTokenId: number;

  constructor(tokenizer: TextTokenizer, endTokenId: number, options: { readonly compileMilliseconds?: number } = {}) {
    this.#tokenizer = tokenizer;
    this.#endTokenId = endTokenId;
    const { vocabSize } = tokenizer;
    this.grammars = new Grammars({ tokenizer, vocabSize, endTokenIds: [endTokenId], ...options });
  }

  /** The text of an answer; undefined if it did not come to its end. */
  async answer(form: StructuredOutputs, seed: number, maxTokens = 400): Promise<string | undefined> {
    const answer = (await this.grammars.compile(form)).begin();
    const random = randomNumbers(seed);
    const tokenIds: number[] = [];
    try {
      while (tokenIds.length < maxTokens) {
        await answer.whenReady();
        const bits = answer.allowed([this.#endTokenId], new Set());
        const allowed = Array.from({ length: this.#tokenizer.vocabSize }, (_, id) => id).filter((id) =>
          hasBit(bits, id),
        );
        if (allowed.length === 0) throw new Error(`Nothing may follow ${this.#tokenizer.decode(tokenIds)}`);
        const isLong = tokenIds.length > 40;
        const closing = isLong ? allowed.filter((id) => CLOSING.test(this.#tokenizer.tokenText(id))) : [];
        const chosenFrom = closing.length > 0 && random() < 0.9 ? closing : allowed;
        const isEnd = hasBit(bits, this.#endTokenId) && (allowed.length === 1 || random() < 0.3);
        const tokenId = isEnd ? this.#endTokenId : chosenFrom[Math.floor(random() * chosenFrom.length)];
        if (tokenId === this.#endTokenId) return this.#tokenizer.decode(tokenIds, { skipSpecialTokens: false });
        tokenIds.push(tokenId);
        answer.accept(tokenId);
      }
      return undefined;
    } finally {
      answer.dispose();
    }
  }

  /** Whether a text can be an answer, in tokens of pieces that are cut at random. */
  async accepts(form: StructuredOutputs, text: string, seed: number): Promise<boolean> {
    const answer = (await this.grammars.compile(form)).begin();
    const random = randomNumbers(seed);
    try {
      for (const piece of pieces(text, random)) {
        for (const tokenId of this.#tokenizer.encode(piece, { addSpecialTokens: false })) {
          await answer.whenReady();
          if (!hasBit(answer.allowed([], new Set()), tokenId)) return false;
          answer.accept(tokenId);
        }
      }
      await answer.whenReady();
      return answer.isComplete;
    } finally {
      answer.dispose();
    }
  }
}

function pieces(text: string, random: () => number): readonly string[] {
  const found: string[] = [];
  for (const character of text) {
    if (found.length === 0 || random() < 0.4) found.push(character);
    else found[found.length - 1] += character;
  }
  return found;
}

/** A text with a character more, less or instead of another one. */
export function mutated(text: string, random: () => number, alphabet: readonly string[]): string {
  const characters = [...text];
  const other = alphabet[Math.floor(random() * alphabet.length)];
  const place = Math.floor(random() * (characters.length + 1));
  const change = Math.floor(random() * 3);
  if (change === 0) characters.splice(place, 0, other);
  else if (change === 1) characters.splice(place, 1);
  else characters.splice(place, 1, other);
  return characters.join('');
}
