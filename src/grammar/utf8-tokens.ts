import { Turns } from '../distributed/event-loop.ts';
import type { VocabularyBytes } from './grammar-protocol.ts';
import { bitsOf, type TokenBits } from './token-bits.ts';

/** Tokens that are read before the time is looked at. */
const TOKENS_PER_TURN = 256;

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

  private constructor(hidden: readonly number[], lastBytes: Uint8Array, after: ReadonlyMap<number, TokenBits>) {
    this.hidden = hidden;
    this.#lastBytes = lastBytes;
    this.#after = after;
  }

  /** Reads a vocabulary, with turns of the event loop in between. */
  static async of({ bytes, offsets }: VocabularyBytes): Promise<Utf8Tokens> {
    const turns = new Turns();
    const numTokens = offsets.length - 1;
    const hidden: number[] = [];
    const after = new Map([...IMPOSSIBLE.keys()].map((lead) => [lead, [] as number[]]));
    const lastBytes = new Uint8Array(numTokens);
    for (let id = 0; id < numTokens; id++) {
      if (id % TOKENS_PER_TURN === 0) await turns.next();
      const own = bytes.subarray(offsets[id], offsets[id + 1]);
      if (own.length === 0) continue;
      lastBytes[id] = own[own.length - 1];
      if (own.some(isImpossible) || own.some((byte, i) => i > 0 && isMalformed(own[i - 1], byte))) hidden.push(id);
      for (const [lead, ids] of after) if (isMalformed(lead, own[0])) ids.push(id);
    }
    const words = Math.ceil(numTokens / 32);
    return new Utf8Tokens(hidden, lastBytes, new Map([...after].map(([lead, ids]) => [lead, bitsOf(ids, words)])));
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
