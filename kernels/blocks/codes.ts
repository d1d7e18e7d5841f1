// Codes of weights in a panel's block, as bytes: what the dot product takes.
//
// Four codes of an output, for neighbouring inputs, are a word. Codes of 8 bits lie as they are: per 4 inputs, 16 words.
// Codes of 4 bits lie two in a byte: per 8 inputs 16 words, whose lower halves are inputs 0 to 3. Those of 5 and 6 bits lie
// in the lower bits of bytes, and what the bytes have left over holds further words: three of eight, or one of four.

import {
  constant, FIFTH_BIT, FIVE_BITS, FOURTH_BIT, is, isFloat4, isSigned, LOW_BITS, partInputs, Q5_K, Q6_K, SIX_BITS, THREE_BITS, TWO_BITS,
  UPPER_TWO, UPPER_TWO_OF_FIVE, UPPER_TWO_OF_FOUR, WORDS, wordsAt,
} from './formats';

/** 12 plus twice the E2M1 floats, by their codes. */
export const E2M1: usize = memory.data<u8>([12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0], 16);

/** Inputs of a unit, whose codes are taken apart together: 16 or 32. */
// @ts-ignore: decorator
@inline
export function unitInputs<F>(): i32 {
  return min(32, partInputs<F>());
}

/** Vectors of words that a unit takes. */
// @ts-ignore: decorator
@inline
export function unitBytes<F>(): usize {
  if (isSigned<F>()) return 8 * WORDS;
  if (is<F, Q5_K>()) return 5 * WORDS;
  return is<F, Q6_K>() ? 3 * WORDS : <usize>unitInputs<F>() / 8 * WORDS;
}

/** Codes of four outputs, v of 0 to 3, for inputs 4 i to 4 i + 3 of a unit. i and v are constants. */
// @ts-ignore: decorator
@inline
export function codesOf<F>(codes: usize, i: usize, v: usize): v128 {
  if (isSigned<F>()) return wordsAt(codes + (i << 6), v);
  if (is<F, Q5_K>()) return fiveBits(codes, i, v);
  if (is<F, Q6_K>()) return sixBits(codes, i, v);
  const bytes = wordsAt(codes + ((i >> 1) << 6), v);
  const low = v128.and(i & 1 ? i16x8.shr_u(bytes, 4) : bytes, constant(LOW_BITS));
  return isFloat4<F>() ? lookedUp(v128.load(E2M1), low) : low;
}

/** Bytes of a table by their indices, which are below 16. */
// @ts-ignore: decorator
@inline
function lookedUp(table: v128, indices: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i8x16.relaxed_swizzle(table, indices) : i8x16.swizzle(table, indices);
}

/**
 * Words 0 to 4 are bits 0 to 4 of five vectors. Of the others, word 5 is the upper bits of vector 0 and two of vector 1, word 6
 * those of vectors 2 and 3, word 7 those of vector 4 and what vectors 1 and 3 have left.
 */
// @ts-ignore: decorator
@inline
function fiveBits(codes: usize, i: usize, v: usize): v128 {
  if (i < 5) return v128.and(wordsAt(codes + (i << 6), v), constant(FIVE_BITS));
  if (i < 7) {
    const low = wordsAt(codes + ((i - 5) << 7), v), high = wordsAt(codes + ((i - 5) << 7) + WORDS, v);
    return v128.or(bitsOf(low, 5, THREE_BITS), bitsOf(high, 2, UPPER_TWO_OF_FIVE));
  }
  const fourth = bitsOf(wordsAt(codes + WORDS, v), 4, FOURTH_BIT), fifth = bitsOf(wordsAt(codes + 3 * WORDS, v), 3, FIFTH_BIT);
  return v128.or(bitsOf(wordsAt(codes + 4 * WORDS, v), 5, THREE_BITS), v128.or(fourth, fifth));
}

/** Words 0 to 2 are bits 0 to 5 of three vectors, and word 3 is their bits 6 and 7. */
// @ts-ignore: decorator
@inline
function sixBits(codes: usize, i: usize, v: usize): v128 {
  if (i < 3) return v128.and(wordsAt(codes + (i << 6), v), constant(SIX_BITS));
  const low = bitsOf(wordsAt(codes, v), 6, TWO_BITS), middle = bitsOf(wordsAt(codes + WORDS, v), 4, UPPER_TWO_OF_FOUR);
  return v128.or(v128.or(low, middle), bitsOf(wordsAt(codes + 2 * WORDS, v), 2, UPPER_TWO));
}

/** Some bits of bytes, moved down. */
// @ts-ignore: decorator
@inline
function bitsOf(bytes: v128, by: i32, mask: usize): v128 {
  return v128.and(i16x8.shr_u(bytes, by), constant(mask));
}

/**
 * Stores the codes of four outputs for a unit as {@link codesOf} reads them: word i has those of inputs 4 i to 4 i + 3. Outputs
 * whose lanes of `mask` are 0 keep theirs.
 */
// @ts-ignore: decorator
@inline
export function packUnit<F>(
  codes: usize, mask: v128, w0: v128, w1: v128, w2: v128, w3: v128, w4: v128, w5: v128, w6: v128, w7: v128,
): void {
  if (isSigned<F>()) {
    storeWords(codes, mask, w0, w1, w2, w3);
    storeWords(codes + 4 * WORDS, mask, w4, w5, w6, w7);
  } else if (is<F, Q5_K>()) {
    const v0 = v128.or(w0, bitsTo(w5, 0, 0x07070707, 5)), v2 = v128.or(w2, bitsTo(w6, 0, 0x07070707, 5));
    const v1 = v128.or(v128.or(w1, bitsTo(w5, 3, 0x03030303, 5)), bitsTo(w7, 3, 0x01010101, 7));
    const v3 = v128.or(v128.or(w3, bitsTo(w6, 3, 0x03030303, 5)), bitsTo(w7, 4, 0x01010101, 7));
    storeWords(codes, mask, v0, v1, v2, v3);
    storeSome(codes + 4 * WORDS, mask, v128.or(w4, bitsTo(w7, 0, 0x07070707, 5)));
  } else if (is<F, Q6_K>()) {
    storeSome(codes, mask, v128.or(w0, bitsTo(w3, 0, 0x03030303, 6)));
    storeSome(codes + WORDS, mask, v128.or(w1, bitsTo(w3, 2, 0x03030303, 6)));
    storeSome(codes + 2 * WORDS, mask, v128.or(w2, bitsTo(w3, 4, 0x03030303, 6)));
  } else {
    storeSome(codes, mask, v128.or(w0, i32x4.shl(w1, 4)));
    storeSome(codes + WORDS, mask, v128.or(w2, i32x4.shl(w3, 4)));
    if (unitInputs<F>() == 16) return;
    storeSome(codes + 2 * WORDS, mask, v128.or(w4, i32x4.shl(w5, 4)));
    storeSome(codes + 3 * WORDS, mask, v128.or(w6, i32x4.shl(w7, 4)));
  }
}

// @ts-ignore: decorator
@inline
function storeWords(codes: usize, mask: v128, a: v128, b: v128, c: v128, d: v128): void {
  storeSome(codes, mask, a);
  storeSome(codes + WORDS, mask, b);
  storeSome(codes + 2 * WORDS, mask, c);
  storeSome(codes + 3 * WORDS, mask, d);
}

/** Stores the lanes that a mask has. */
// @ts-ignore: decorator
@inline
export function storeSome(to: usize, mask: v128, words: v128): void {
  v128.store(to, v128.bitselect(words, v128.load(to), mask));
}

/** Bits of the bytes of words, moved down by `from` and up by `to`. */
// @ts-ignore: decorator
@inline
function bitsTo(words: v128, from: i32, mask: u32, to: i32): v128 {
  return i32x4.shl(v128.and(i32x4.shr_u(words, from), i32x4.splat(mask)), to);
}

/** The codes of an output for a unit, a byte each from `bytes` on, back from where {@link packUnit} stored them. `codes`: its first word. */
// @ts-ignore: decorator
@inline
export function unpackUnit<F>(codes: usize, bytes: usize): void {
  if (isSigned<F>()) {
    for (let i: usize = 0; i < 8; i++) store<u32>(bytes + (i << 2), load<u32>(codes + i * WORDS));
  } else if (is<F, Q5_K>()) {
    for (let i: usize = 0; i < 5; i++) store<u32>(bytes + (i << 2), load<u32>(codes + i * WORDS) & 0x1f1f1f1f);
    const v1 = load<u32>(codes, WORDS), v3 = load<u32>(codes, 3 * WORDS);
    store<u32>(bytes, bitsAt(load<u32>(codes), 5, 0x07070707, 0) | bitsAt(v1, 5, 0x03030303, 3), 20);
    store<u32>(bytes, bitsAt(load<u32>(codes, 2 * WORDS), 5, 0x07070707, 0) | bitsAt(v3, 5, 0x03030303, 3), 24);
    const upper = bitsAt(v1, 7, 0x01010101, 3) | bitsAt(v3, 7, 0x01010101, 4);
    store<u32>(bytes, bitsAt(load<u32>(codes, 4 * WORDS), 5, 0x07070707, 0) | upper, 28);
  } else if (is<F, Q6_K>()) {
    let last: u32 = 0;
    for (let i: usize = 0; i < 3; i++) {
      const word = load<u32>(codes + i * WORDS);
      store<u32>(bytes + (i << 2), word & 0x3f3f3f3f);
      last |= bitsAt(word, 6, 0x03030303, <u32>i << 1);
    }
    store<u32>(bytes, last, 12);
  } else {
    for (let i: usize = 0; i < unitBytes<F>() / WORDS; i++) {
      const word = load<u32>(codes + i * WORDS);
      store<u32>(bytes + (i << 3), word & 0x0f0f0f0f);
      store<u32>(bytes + (i << 3), (word >> 4) & 0x0f0f0f0f, 4);
    }
  }
}

/** Bits of the bytes of a word, moved down by `from` and up by `to`. */
// @ts-ignore: decorator
@inline
function bitsAt(word: u32, from: u32, mask: u32, to: u32): u32 {
  return ((word >> from) & mask) << to;
}
