// Weights in the formats of files, as panels of 16 outputs: codes of a few bits and the scales of parts of 32 inputs, or
// of 16, 64 or 128. What the bits stand for is defined by ggml (ggml-common.h) and by the formats of quantised folders;
// src/tensor/block-formats.ts has the layouts of rows. panels.ts makes panels of rows.
//
// A panel begins with the factors that make float32 of its rows' float16 numbers, if it has such: processors take a
// hundred cycles for a product with a subnormal number, and scales of float16 often are subnormal, so the numbers of a row
// are moved up by a power of two and its factor moves them down.
//
// A block of a panel is 128 inputs of 16 outputs: numbers of each part, upper bits of the codes, and the codes. Words of 32
// bits lie side by side, one for each output, so that four vectors hold 16 outputs and V8 joins pairs of vectors into
// 256 bits. Numbers of 16 bits lie in half as many words: output i in the lower half of word i, output i + 8 in the upper.

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
export function panelBytes<F>(K: i32): usize {
  return headBytes<F>() + blockBytes<F>() * <usize>(K >> 7);
}

/** Offset of the numbers of parts; in front of them lies what a block has once. */
// @ts-ignore: decorator
@inline
export function scalesAt<F>(): usize {
  // d and dmin in a word; d; the factor of a tensor.
  if (hasMinima<F>() || is<F, NVFP4>()) return WORDS;
  return is<F, Q6_K>() ? HALVES : 0;
}

/** Offset of minima, a byte for each part, or of -Σ of signed weights over a part, 16 bits each. */
// @ts-ignore: decorator
@inline
export function extrasAt<F>(): usize {
  if (is<F, Q8_0>()) return 4 * HALVES;
  return scalesAt<F>() + WORDS;
}

/** Offset of the codes' upper bits. */
// @ts-ignore: decorator
@inline
export function planesAt<F>(): usize {
  if (is<F, Q8_0>()) return 8 * HALVES;
  if (is<F, Q4_0>()) return 4 * HALVES;
  if (hasMinima<F>()) return 3 * WORDS;
  if (is<F, Q6_K>()) return HALVES + 2 * WORDS;
  if (is<F, NVFP4>()) return 3 * WORDS;
  if (is<F, INT4_G32>()) return 4 * WORDS;
  if (is<F, INT4_G64>()) return 2 * WORDS;
  return is<F, INT8_G128>() ? WORDS + HALVES : WORDS;
}

/** Upper bits of 128 inputs: a vector has one bit of 8 neighbouring vectors of codes (Q5_K), or two bits of 4 (Q6_K). */
// @ts-ignore: decorator
@inline
export function codesAt<F>(): usize {
  if (is<F, Q5_K>()) return planesAt<F>() + 4 * WORDS;
  return planesAt<F>() + (is<F, Q6_K>() ? 8 * WORDS : 0);
}

/**
 * Bytes of a block. Codes of 8 bits lie as in int8 panels: per 4 inputs, 16 outputs of 4 bytes. Those of 4 bits as in int4
 * panels: per 8 inputs, 16 outputs of 4 bytes with two codes each, of which the lower halves are inputs 0 to 3.
 */
// @ts-ignore: decorator
@inline
export function blockBytes<F>(): usize {
  return codesAt<F>() + (isSigned<F>() ? 2048 : 1024);
}

// --- numbers ------------------------------------------------------------------------------------------------------

/**
 * Masks and factors: V8 builds a constant vector of some seven instructions, and a load is one.
 *
 * A float16 in the upper half of a word becomes a float32 when its bits are shifted down by 3 with their sign and
 * multiplied by 2^112, which the factors of panels hold; an E4M3 byte, by 4 and 2^120.
 */
const CONSTANTS = memory.data<u32>([
  0x0f0f0f0f, 0x10101010, 0x30303030, 255, 0xffff0000, 0x8fffe000, 0x00ff00ff, 0xffffff00, 0x87f00000, 0x7b800000,
  0x00400000, 0x3f000000,
]);
export const LOW_BITS: usize = CONSTANTS, FIFTH_BIT: usize = CONSTANTS + 4, UPPER_TWO: usize = CONSTANTS + 8;
export const LOW_BYTE: usize = CONSTANTS + 12;
const UPPER_HALF = CONSTANTS + 16, HALF_BITS = CONSTANTS + 20;
/** Every other byte. */
export const EVEN_BYTES: usize = CONSTANTS + 24;
const FLOAT24 = CONSTANTS + 28, E4M3_BITS = CONSTANTS + 32, E4M3_FACTOR = CONSTANTS + 36, LEAST_E8M0 = CONSTANTS + 40, HALF = CONSTANTS + 44;

/** 12 plus twice the E2M1 floats, by their codes. */
const E2M1 = memory.data<u8>([12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0], 16);

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

/** Signed integers in the upper halves of words, times 64. */
// @ts-ignore: decorator
@inline
export function upperHalvesTimes64(words: v128): v128 {
  return i32x4.shr_s(v128.and(words, constant(UPPER_HALF)), 10);
}

/** Floats of 16 bits in the upper halves of words. Infinities and NaN become numbers: a check refuses them on loading. */
// @ts-ignore: decorator
@inline
export function float16s(words: v128, factors: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(words, 3), constant(HALF_BITS)), factors);
}

/** E4M3 floats in the lowest bytes of words. */
// @ts-ignore: decorator
@inline
export function e4m3s(words: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(i32x4.shl(words, 24), 4), constant(E4M3_BITS)), constant(E4M3_FACTOR));
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

/** Codes of 4 bits, which stand for E2M1 floats in formats of such, as bytes without a sign. */
// @ts-ignore: decorator
@inline
export function decoded<F>(codes: v128): v128 {
  return isFloat4<F>() ? i8x16.swizzle(v128.load(E2M1), codes) : codes;
}

/**
 * Scales of a part for four outputs, without the factor of their block. `numbers` are those of the part: a word that
 * {@link partWords} gave, shifted so that its byte is the lowest. `panel` is the address of the panel's head.
 */
// @ts-ignore: decorator
@inline
export function scaleOf<F>(panel: usize, numbers: v128, v: usize): v128 {
  if (is<F, Q8_0>() || is<F, Q4_0>()) return float16s(numbers, wordsAt(panel, v));
  if (hasZeroPoints<F>()) return floats24(numbers);
  if (is<F, INT8_G128>()) return numbers;
  if (is<F, MXFP4>()) return halvesOfE8M0(numbers);
  if (is<F, NVFP4>()) return e4m3s(numbers);
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

/** Words with the numbers of a part, or of the four parts from it on if they are bytes. */
// @ts-ignore: decorator
@inline
export function partWords<F>(block: usize, part: usize, v: usize): v128 {
  const at = block + scalesAt<F>();
  if (is<F, Q8_0>() || is<F, Q4_0>()) return halvesAt(at + part * HALVES, v);
  return wordsAt(at + (hasByteScales<F>() ? part >> 2 : part) * WORDS, v);
}

/** Sums that four outputs start a part with: -64 Σ of signed weights, or zero points times -Σ of activations; else `sum`. */
// @ts-ignore: decorator
@inline
export function startOf<F>(block: usize, part: usize, v: usize, numbers: v128, sum: v128): v128 {
  if (isSigned<F>()) return upperHalvesTimes64(halvesAt(block + extrasAt<F>() + part * HALVES, v));
  return hasZeroPoints<F>() ? i32x4.mul(v128.and(numbers, constant(LOW_BYTE)), sum) : sum;
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
