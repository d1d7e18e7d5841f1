import type { VocabularyBytes } from './grammar-protocol.ts';
import { bitsOf, type TokenBits } from './token-bits.ts';

/** Lead bytes after which not all continuation bytes make a character, with those that do not. */
const IMPOSSIBLE: ReadonlyMap<number, readonly [first: number, last: number]> = new Map([
  [0xe0, [0x80, 0x9f]],
  [0xed, [0xa0, 0xbf]],
  [0xf0, [0x80, 0x8f]],
  [0xf4, [0x90, 0xbf]],
]);

/** Bytes that no UTF-8 has. */
function isImpossible(byte: number): boolean {
  return byte === 0xc0 || byte === 0xc1 || byte >= 0xf5;
}

/**
 * Tokens that would make a text malformed UTF-8, which XGrammar does not see: its characters are any lead byte with as many
 * continuation bytes. Such a text would not be what the answer's bytes say, but have U+FFFD in it.
 */
export class Utf8Tokens {
  /** Tokens that no text has. */
  readonly hidden: readonly number[];
  readonly #lastBytes: Uint8Array;
  /** Tokens that must not come after a lead byte. */
  readonly #after: ReadonlyMap<number, TokenBits>;

  constructor({ bytes, offsets }: VocabularyBytes) {
    const numTokens = offsets.length - 1;
    const hidden: number[] = [];
    const after = new Map([...IMPOSSIBLE.keys()].map((lead) => [lead, [] as number[]]));
    this.#lastBytes = new Uint8Array(numTokens);
    for (let id = 0; id < numTokens; id++) {
      const own = bytes.subarray(offsets[id], offsets[id + 1]);
      if (own.length === 0) continue;
      this.#lastBytes[id] = own[own.length - 1];
      if (own.some(isImpossible) || own.some((byte, i) => i > 0 && isMalformed(own[i - 1], byte))) hidden.push(id);
      for (const [lead, ids] of after) if (isMalformed(lead, own[0])) ids.push(id);
    }
    this.hidden = hidden;
    const words = Math.ceil(numTokens / 32);
    this.#after = new Map([...after].map(([lead, ids]) => [lead, bitsOf(ids, words)]));
  }

  /** Bits of the tokens that must not follow a token. */
  forbiddenAfter(tokenId: number | undefined): TokenBits | undefined {
    return tokenId === undefined ? undefined : this.#after.get(this.#lastBytes[tokenId]);
  }
}

function isMalformed(lead: number, next: number): boolean {
  const range = IMPOSSIBLE.get(lead);
  return range !== undefined && next >= range[0] && next <= range[1];
}
