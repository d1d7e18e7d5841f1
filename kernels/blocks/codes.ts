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

/** Stores the codes of an output for a unit, a byte each from `bytes` on, as {@link codesOf} reads them. `codes`: its first word. */
// @ts-ignore: decorator
@inline
export function packUnit<F>(bytes: usize, codes: usize): void {
  if (isSigned<F>()) {
    for (let i: usize = 0; i < 8; i++) store<u32>(codes + i * WORDS, load<u32>(bytes + (i << 2)));
  } else if (is<F, Q5_K>()) {
    const w5 = load<u32>(bytes, 20), w6 = load<u32>(bytes, 24), w7 = load<u32>(bytes, 28);
    store<u32>(codes, load<u32>(bytes) | bitsAt(w5, 0, 0x07070707, 5));
    store<u32>(codes, load<u32>(bytes, 4) | bitsAt(w5, 3, 0x03030303, 5) | bitsAt(w7, 3, 0x01010101, 7), WORDS);
    store<u32>(codes, load<u32>(bytes, 8) | bitsAt(w6, 0, 0x07070707, 5), 2 * WORDS);
    store<u32>(codes, load<u32>(bytes, 12) | bitsAt(w6, 3, 0x03030303, 5) | bitsAt(w7, 4, 0x01010101, 7), 3 * WORDS);
    store<u32>(codes, load<u32>(bytes, 16) | bitsAt(w7, 0, 0x07070707, 5), 4 * WORDS);
  } else if (is<F, Q6_K>()) {
    const last = load<u32>(bytes, 12);
    for (let i: usize = 0; i < 3; i++) {
      store<u32>(codes + i * WORDS, load<u32>(bytes + (i << 2)) | bitsAt(last, <u32>i << 1, 0x03030303, 6));
    }
  } else {
    for (let i: usize = 0; i < unitBytes<F>() / WORDS; i++) {
      store<u32>(codes + i * WORDS, load<u32>(bytes + (i << 3)) | (load<u32>(bytes + (i << 3), 4) << 4));
    }
  }
}

/** The codes of an output for a unit, back from where {@link packUnit} stored them. */
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
