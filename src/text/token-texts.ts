import { IncrementalDetokenizer } from './incremental-detokenizer.ts';
import type { TextTokenizer } from './tokenizer.ts';

/** A token as people and clients read it. */
export interface WrittenToken {
  /**
   * The text that it adds: '' for the first parts of a character, and the whole character with its last part. For
   * alternatives see {@link TokenTexts.next}.
   */
  readonly token: string;
  /** The token's own bytes, which may be only part of a character. */
  readonly bytes: readonly number[];
}

/** A token in its place, and its alternatives. */
export interface WrittenPlace extends WrittenToken {
  /** The token's start in the text, in UTF-16 units. */
  readonly offset: number;
  readonly others: readonly WrittenToken[];
}

/** The next token. */
export interface NextToken {
  readonly id: number;
  /** Alternative tokens. */
  readonly others?: readonly number[] | undefined;
  /** Whether it is a part of the text. Default: true, except for special tokens that are not shown. */
  readonly isShown?: boolean | undefined;
  /** Whether no further token follows, so that the rest of a character belongs to this one. */
  readonly isLast?: boolean | undefined;
}

/** Options that decide the text of tokens. */
export interface TokenTextsOptions {
  /** Leave out tokens such as `<|endoftext|>`. True when absent. */
  readonly skipSpecialTokens?: boolean | undefined;
  /** Ids before the first one. */
  readonly prompt?: readonly number[] | undefined;
}

/**
 * Writes the tokens of one text, one after the other: joined, those that are shown are the text. A token that is left
 * out of the text is written as its name, `<|endoftext|>`, and has no length in the text.
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

  /** The text's length so far, in UTF-16 units. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Writes the next token. It and its alternatives are all written differently: an alternative whose text is the same
   * as another's, or is part of a character, is written as `bytes:\xe2\x96`, and if that is not unique either as
   * `token_id:7`.
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
    // Also a character that a token before a hidden one has left incomplete.
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
 * The tokens of a known text, each as it is written there. Special tokens that the text does not contain, such as one
 * that a tokenizer adds at the beginning, are written, but are not a part of it.
 */
export function isShownIn(text: string, offset: number, id: number, tokenizer: TextTokenizer | undefined): boolean {
  if (!tokenizer?.specialTokenIds.has(id)) return true;
  return text.startsWith(tokenizer.tokenText(id), offset);
}

const EMPTY = new Uint8Array();

/** OpenAI's notation for tokens that are not whole characters. */
function bytesName(bytes: Uint8Array): string {
  return `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
}
