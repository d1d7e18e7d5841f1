import { IncrementalDetokenizer } from './incremental-detokenizer.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** A token as people and clients read it. */
export interface WrittenToken {
  /**
   * The text that it adds: '' for the first parts of a character, and the whole character with its last part. Of tokens
   * that only might have come it is as in {@link TokenTexts.next}.
   */
  readonly token: string;
  /** Its own bytes, which may be parts of a character only. */
  readonly bytes: readonly number[];
}

/** A token in its place, and others that might have come there. */
export interface WrittenPlace extends WrittenToken {
  /** Where it begins in the text, in UTF-16 units. */
  readonly offset: number;
  readonly others: readonly WrittenToken[];
}

/** What comes next. */
export interface NextToken {
  readonly id: number;
  /** Others that might have come. */
  readonly others?: readonly number[] | undefined;
  /** Whether it is a part of the text. Default: whether it is no special token, or those are shown. */
  readonly isShown?: boolean | undefined;
  /** No further token follows: what is left of a character belongs to this one. */
  readonly isLast?: boolean | undefined;
}

/** What the text of a text's tokens depends on. */
export interface TokenTextsOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
  /** Ids before the first one. */
  readonly prompt?: readonly number[] | undefined;
}

/**
 * Writes the tokens of one text, one after the other: together those that are shown are the text. A token that is left out
 * of the text is written as what it stands for, `<|endoftext|>`, and takes no place.
 */
export class TokenTexts {
  readonly #tokenizer: TextTokenizer | undefined;
  readonly #detokenizer: IncrementalDetokenizer | undefined;
  readonly #skipSpecialTokens: boolean;
  #offset = 0;

  /** Without a tokenizer, tokens are written as `token_id:7`. */
  constructor(tokenizer: TextTokenizer | undefined, options: TokenTextsOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#detokenizer = tokenizer && new IncrementalDetokenizer(tokenizer, options);
    this.#skipSpecialTokens = options.skipSpecialTokens ?? true;
  }

  /** How long the text is so far, in UTF-16 units. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Writes the next token. No two of it and the others are written alike: where their texts are the same, or one is a part
   * of a character, the other is written as `bytes:\xe2\x96`, and as `token_id:7` where that is the same as well.
   */
  next({ id, others = [], isShown: asked, isLast = false }: NextToken): WrittenPlace {
    const { offset } = this;
    const [tokenizer, detokenizer] = [this.#tokenizer, this.#detokenizer];
    if (!tokenizer || !detokenizer) {
      const written = (each: number) => ({ token: `token_id:${each}`, bytes: [] });
      return { ...written(id), offset, others: others.map(written) };
    }
    const seen = new Map(others.map((other) => [other, detokenizer.peek(other)] as const));
    const own = detokenizer.peek(id);
    const isShown = asked ?? tokenizer.isVisible(id, this.#skipSpecialTokens);
    const shown = isShown ? detokenizer.push(id, tokenizer.isVisible(id, false)) : '';
    // Also what a token before a hidden one has left incomplete.
    const rest = isLast ? detokenizer.flush() : '';
    this.#offset += shown.length + rest.length;
    const token = isShown ? shown + rest : rest + tokenizer.tokenText(id);
    const names = new Map([[token, id]]);
    const written = (other: number): WrittenToken => {
      const { text = '', bytes = EMPTY } = seen.get(other) ?? {};
      if (other === id) return { token, bytes: [...own.bytes] };
      const choices = [...(text === '' ? [] : [text]), ...(bytes.length === 0 ? [] : [bytesName(bytes)])];
      const name = choices.find((choice) => !names.has(choice)) ?? `token_id:${other}`;
      names.set(name, other);
      return { token: name, bytes: [...bytes] };
    };
    return { token, bytes: [...own.bytes], offset, others: others.map(written) };
  }
}

/**
 * The tokens of a known text, each as it is written there. Special tokens that the text does not have, as one that a
 * tokenizer puts at the beginning, are written, but are no part of it.
 */
export function isShownIn(text: string, offset: number, id: number, tokenizer: TextTokenizer | undefined): boolean {
  if (!tokenizer?.specialTokenIds.has(id)) return true;
  return text.startsWith(tokenizer.tokenText(id), offset);
}

const EMPTY = new Uint8Array();

/** As OpenAI writes tokens that are no whole characters. */
function bytesName(bytes: Uint8Array): string {
  return `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
}
