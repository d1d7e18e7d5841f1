// Weights in the formats of files, as panels of 16 outputs: codes of a few bits and the scales of parts of 32 inputs, or
// of 16, 64 or 128. What the bits stand for is defined by ggml (ggml-common.h) and by the formats of quantised folders;
// src/tensor/block-formats.ts has the layouts of rows. panels.ts makes panels of rows.
//
// A panel begins with the factors that make float32 of its rows' float16 numbers, if it has such: processors take a
// hundred cycles for a product with a subnormal number, and scales of float16 often are subnormal, so the numbers of a row
// are moved up by a power of two and its factor moves them down.
//
// A block of a panel is 128 inputs of 16 outputs: numbers of each part, and the codes, which codes.ts takes apart. Words of 32
// bits lie side by side, one for each output, so that four vectors hold 16 outputs and V8 joins pairs of vectors into
// 256 bits. Numbers of 16 bits lie in half as many words: output i in the lower half of word i, output i + 8 in the upper.

import { e4m3s } from '../e4m3';

/** The formats, as type parameters: code for one holds nothing of the others. */
export class Q8_0 {}
export class Q4_0 {}
export class Q4_K {}
export class Q5_K {}
export class Q6_K {}
export class MXFP4 {}
export class NVFP4 {}
export class INT4_G32 {}
export class INT4_G64 {}
export class INT4_G128 {}
export class INT8_G128 {}

/** Whether two formats are the same, known when the code is compiled. */
// @ts-ignore: decorator
@inline
export function is<F, G>(): bool {
  return idof<F>() == idof<G>();
}

// --- what the formats have in common ------------------------------------------------------------------------------

/** Weights are signed bytes, and activations bytes of 7 bits; else weights are codes of up to 6 bits. */
// @ts-ignore: decorator
@inline
export function isSigned<F>(): bool {
  return is<F, Q8_0>() || is<F, INT8_G128>();
}

/** Parts have integers that the floats of a block multiply, and minima. */
// @ts-ignore: decorator
@inline
export function hasMinima<F>(): bool {
  return is<F, Q4_K>() || is<F, Q5_K>();
}

/** Each part of an output has a zero point of its own. */
// @ts-ignore: decorator
@inline
export function hasZeroPoints<F>(): bool {
  return is<F, INT4_G32>() || is<F, INT4_G64>() || is<F, INT4_G128>();
}

/** Codes stand for E2M1 floats. */
// @ts-ignore: decorator
@inline
export function isFloat4<F>(): bool {
  return is<F, MXFP4>() || is<F, NVFP4>();
}

/** Inputs that share a scale. */
// @ts-ignore: decorator
@inline
export function partInputs<F>(): i32 {
  if (is<F, Q6_K>() || is<F, NVFP4>()) return 16;
  if (is<F, INT4_G64>()) return 64;
  return is<F, INT4_G128>() || is<F, INT8_G128>() ? 128 : 32;
}

/** What is taken from a code, or from twice an E2M1 float plus it, to make what the scale multiplies. */
// @ts-ignore: decorator
@inline
export function zeroPoint<F>(): i32 {
  if (is<F, Q4_0>()) return 8;
  if (isFloat4<F>()) return 12;
  return is<F, Q6_K>() ? 32 : 0;
}

// --- layout of a block --------------------------------------------------------------------------------------------

/** Bytes of a number of 16 bits, and of 32, of each output. */
export const HALVES: usize = 32, WORDS: usize = 64;

/** Whether scales are float16. */
// @ts-ignore: decorator
@inline
export function hasFloat16<F>(): bool {
  return is<F, Q8_0>() || is<F, Q4_0>() || is<F, Q6_K>() || hasMinima<F>();
}

/** Bytes of a panel before its blocks: factors of d, and of dmin. */
// @ts-ignore: decorator
@inline
export function headBytes<F>(): usize {
  if (hasMinima<F>()) return 2 * WORDS;
  return hasFloat16<F>() ? WORDS : 0;
}

/** Bytes of a panel of K inputs. */
// @ts-ignore: decorator
@inline
export function panelBytesOf<F>(K: i32): usize {
  return headBytes<F>() + blockBytes<F>() * <usize>(K >> 7);
}

/** Offset of the numbers of parts, after those that a block has once. */
// @ts-ignore: decorator
@inline
export function scalesAt<F>(): usize {
  // d and dmin in a word; d; the factor of a tensor.
  if (hasMinima<F>() || is<F, NVFP4>()) return WORDS;
  return is<F, Q6_K>() ? HALVES : 0;
}

/** Offset of minima, a byte for each part, or of {@link offsetsOf}. */
// @ts-ignore: decorator
@inline
export function extrasAt<F>(): usize {
  if (is<F, Q8_0>()) return 4 * HALVES;
  return scalesAt<F>() + WORDS;
}

/** Offset of the codes. */
// @ts-ignore: decorator
@inline
export function codesAt<F>(): usize {
  if (isSigned<F>() || hasMinima<F>()) return extrasAt<F>() + WORDS;
  if (is<F, Q4_0>()) return 4 * HALVES;
  if (is<F, Q6_K>() || is<F, NVFP4>()) return scalesAt<F>() + 2 * WORDS;
  if (is<F, INT4_G32>()) return 4 * WORDS;
  return is<F, INT4_G64>() ? 2 * WORDS : WORDS;
}

/** Bytes of a block: its codes have 4, 5, 6 or 8 bits, see codes.ts. */
// @ts-ignore: decorator
@inline
export function blockBytes<F>(): usize {
  const bits: usize = isSigned<F>() ? 8 : is<F, Q5_K>() ? 5 : is<F, Q6_K>() ? 6 : 4;
  return codesAt<F>() + 256 * bits;
}

// --- numbers ------------------------------------------------------------------------------------------------------

/**
 * Masks and factors: V8 builds a constant vector of some seven instructions, and a load is one.
 *
 * A float16 in the upper half of a word becomes a float32 when its bits are shifted down by 3 with their sign and
 * multiplied by 2^112, which the factors of panels hold.
 */
const CONSTANTS = memory.data<u32>([
  0x0f0f0f0f, 0x1f1f1f1f, 0x3f3f3f3f, 0x03030303, 0x07070707, 0x08080808, 0x10101010, 0x0c0c0c0c, 0x18181818,
  0x30303030, 255, 0x00ff00ff, 0x8fffe000, 0xffffff00, 0x00400000, 0x3f000000,
]);
/** Bits of all bytes. */
export const LOW_BITS: usize = CONSTANTS, FIVE_BITS: usize = CONSTANTS + 4, SIX_BITS: usize = CONSTANTS + 8, TWO_BITS: usize = CONSTANTS + 12;
export const THREE_BITS: usize = CONSTANTS + 16, FOURTH_BIT: usize = CONSTANTS + 20, FIFTH_BIT: usize = CONSTANTS + 24;
export const UPPER_TWO_OF_FOUR: usize = CONSTANTS + 28, UPPER_TWO_OF_FIVE: usize = CONSTANTS + 32, UPPER_TWO: usize = CONSTANTS + 36;
/** The lowest byte of words, and every other byte. */
export const LOW_BYTE: usize = CONSTANTS + 40, EVEN_BYTES: usize = CONSTANTS + 44;
const HALF_BITS = CONSTANTS + 48, FLOAT24 = CONSTANTS + 52, LEAST_E8M0 = CONSTANTS + 56, HALF = CONSTANTS + 60;

/** A number in all lanes. */
// @ts-ignore: decorator
@inline
export function constant(address: usize): v128 {
  return v128.load32_splat(address);
}

/**
 * Words of four outputs, of which the constant `v` tells which: 0 to 3. V8 makes one load of two if their addresses differ
 * in constants of the instructions.
 */
// @ts-ignore: decorator
@inline
export function wordsAt(address: usize, v: usize): v128 {
  if (v == 0) return v128.load(address);
  if (v == 1) return v128.load(address, 16);
  return v == 2 ? v128.load(address, 32) : v128.load(address, 48);
}

/** Numbers of 16 bits of four outputs, in the upper halves of words; the lower halves are anything. */
// @ts-ignore: decorator
@inline
export function halvesAt(address: usize, v: usize): v128 {
  const words = wordsAt(address, v & 1);
  return v & 2 ? words : i32x4.shl(words, 16);
}

/** Floats of 16 bits in the upper halves of words. Infinities and NaN become numbers: a check refuses them on loading. */
// @ts-ignore: decorator
@inline
export function float16s(words: v128, factors: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(words, 3), constant(HALF_BITS)), factors);
}

/** Halves of 2^(e - 127), e in the lowest bytes of words: 12 plus twice a float is what codes stand for. */
// @ts-ignore: decorator
@inline
export function halvesOfE8M0(words: v128): v128 {
  return f32x4.mul(i32x4.max_s(i32x4.shl(v128.and(words, constant(LOW_BYTE)), 23), constant(LEAST_E8M0)), constant(HALF));
}

/** The floats in the upper 24 bits of words, and half of a float. */
// @ts-ignore: decorator
@inline
export function floats24(words: v128): v128 {
  return v128.and(words, constant(FLOAT24));
}

// @ts-ignore: decorator
@inline
export function halfOf(floats: v128): v128 {
  return f32x4.mul(floats, constant(HALF));
}

/**
 * Scales of a part for four outputs, without the factor of their block. `numbers` are those of the part, as
 * {@link partNumbers} gave them. `panel` is the address of the panel's head.
 */
// @ts-ignore: decorator
@inline
export function scaleOf<F>(panel: usize, numbers: v128, v: usize): v128 {
  if (is<F, Q8_0>() || is<F, Q4_0>()) return float16s(numbers, wordsAt(panel, v));
  if (hasZeroPoints<F>()) return floats24(numbers);
  if (is<F, INT8_G128>()) return numbers;
  if (is<F, MXFP4>()) return halvesOfE8M0(numbers);
  if (is<F, NVFP4>()) return e4m3s(i32x4.shl(numbers, 24));
  if (is<F, Q6_K>()) return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(numbers, 24), 24));
  return f32x4.convert_i32x4_s(v128.and(numbers, constant(LOW_BYTE)));
}

/** Whether a block has a factor that multiplies all of its scales. */
// @ts-ignore: decorator
@inline
export function hasFactor<F>(): bool {
  return hasMinima<F>() || is<F, Q6_K>() || is<F, NVFP4>();
}

/** That factor, for four outputs. */
// @ts-ignore: decorator
@inline
export function factorOf<F>(panel: usize, block: usize, v: usize): v128 {
  if (hasMinima<F>()) return float16s(i32x4.shl(wordsAt(block, v), 16), wordsAt(panel, v));
  return is<F, Q6_K>() ? float16s(halvesAt(block, v), wordsAt(panel, v)) : halfOf(wordsAt(block, v));
}

/** Bytes of parts are four in a word. */
// @ts-ignore: decorator
@inline
export function hasByteScales<F>(): bool {
  return hasMinima<F>() || is<F, Q6_K>() || isFloat4<F>();
}

/** Words with the numbers of a part for four outputs; bytes are the lowest of theirs. */
// @ts-ignore: decorator
@inline
export function partNumbers<F>(block: usize, part: usize, v: usize): v128 {
  const at = block + scalesAt<F>();
  if (is<F, Q8_0>() || is<F, Q4_0>()) return halvesAt(at + part * HALVES, v);
  if (!hasByteScales<F>()) return wordsAt(at + part * WORDS, v);
  return i32x4.shr_u(wordsAt(at + (part >> 2) * WORDS, v), <i32>(part & 3) << 3);
}

/** Sums that four outputs start a part with: zero points times -Σ of activations, or `sum`, which is that already. */
// @ts-ignore: decorator
@inline
export function startOf<F>(numbers: v128, sum: v128): v128 {
  return hasZeroPoints<F>() ? i32x4.mul(v128.and(numbers, constant(LOW_BYTE)), sum) : sum;
}

/** What the 64 in each byte of activations adds to a block's sum of signed weights, taken from it: -64 Σ scale * Σ w. */
// @ts-ignore: decorator
@inline
export function offsetsOf<F>(block: usize, v: usize): v128 {
  return isSigned<F>() ? wordsAt(block + extrasAt<F>(), v) : f32x4.splat(0);
}

/** Address of a block's minima, a byte for each part. */
// @ts-ignore: decorator
@inline
export function minimaAt(block: usize): usize {
  return block + 2 * WORDS;
}

/** -dmin of four outputs. */
// @ts-ignore: decorator
@inline
export function minimumFactorOf(panel: usize, block: usize, v: usize): v128 {
  return f32x4.neg(float16s(wordsAt(block, v), wordsAt(panel + WORDS, v)));
}

/** The sum of minima times activations of their parts: those of parts 0 and 2, and of 1 and 3, in halves of words. */
// @ts-ignore: decorator
@inline
export function minimumSum(evenMinima: v128, oddMinima: v128, even: v128, odd: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.dot_i16x8_s(evenMinima, even), i32x4.dot_i16x8_s(oddMinima, odd)));
}
