// The layout of int4 panels, and how their numbers are taken apart.

import { BLOCK, HEADER } from '../quantized';

/** Inputs that share an m. */
export const PART: i32 = 32;
/** Bytes of a block's m: a word holds those of outputs i (lower half) and i + 8, four bits for each part. */
export const FACTORS: usize = 32;
/** Bytes of one block of a panel: header, factors, then per 8 inputs 16 outputs * 4 bytes with two q each, lower half first. */
export const BLOCK_BYTES: usize = HEADER + FACTORS + 8 * BLOCK;

export const LOWER_HALVES = memory.data<i32>([0x0f0f0f0f]);
export const UPPER_HALVES = memory.data<i32>([0xf0f0f0f0]);
/** Turns q as a half byte into q + 8. */
export const SIGNS = memory.data<i32>([0x88888888]);
const FOUR_BITS = memory.data<i32>([15]);
/** Factors that copy an m to the two 16-bit halves of a word, and that make four bytes of 8 m of it. */
const HALVES = memory.data<i32>([0x00010001]);
export const EIGHTS = memory.data<i32>([0x08080808]);

/** The m in the lowest four bits of each word. */
// @ts-ignore: decorator
@inline
export function factorOf(words: v128): v128 {
  return v128.and(words, v128.load32_splat(FOUR_BITS));
}

/** An m in both halves of each word. */
// @ts-ignore: decorator
@inline
export function factorsOf(words: v128): v128 {
  return i32x4.mul(factorOf(words), v128.load32_splat(HALVES));
}

/** Half bytes q as q + 8. */
// @ts-ignore: decorator
@inline
export function unsigned(bytes: v128, signs: v128 = v128.load32_splat(SIGNS)): v128 {
  return v128.xor(bytes, signs);
}

// @ts-ignore: decorator
@inline
export function lower(bytes: v128, mask: v128 = v128.load32_splat(LOWER_HALVES)): v128 {
  return v128.and(bytes, mask);
}
