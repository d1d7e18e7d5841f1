// What int8 and int4 products share: activations that are quantised on the way in, the dot product of bytes, and the
// scaling of its sums.
//
// The relaxed dot product multiplies signed bytes with bytes of 7 bits and adds four products to each int32 lane. The
// operand of 7 bits is the activations, as round(x / s) + 64. What the 64 adds, 64 * Σ w per block and output, is known
// at load, and the sums start from its negative. Integer sums are exact; per block of 128 inputs they are scaled and
// added in float32, block after block, whatever the number of rows, so that a row's result has the same bits alone as
// among a thousand.
//
// A block's header has a word per output: the upper half is the weights' scale as bfloat16, the lower half -Σ w as int16.

import { madd } from './math';
import { DOT, FORM, PAIRS } from './products/form';

/** Inputs per block. */
export const BLOCK: i32 = 128;
/** Bytes of a block's header. */
export const HEADER: usize = 64;

/** Constants for the rounding of activations: 1.5 * 2^23 as a float, and what is added to its bits to make bytes. */
const ROUNDING = memory.data<f32>([12582912.0]);
const UPPER_HALF = memory.data<i32>([0xffff0000]);

/** Largest magnitude of a quantised activation, and what is added to make it positive. */
const LIMIT: f32 = 63;
const OFFSET: i32 = 64;

/** Sink of fetched values, so that the fetches are not optimised away. */
const FETCHED = memory.data<i32>([0]);
/** 1 in both halves of a word, and the lower bytes of both. */
const ONES = memory.data<i32>([0x00010001]), LOWER_BYTES = memory.data<i32>([0x00ff00ff]);
const PAGE: usize = 4096;

/**
 * Reads where the next page of memory begins, if the next `bytes` reach it: processors fetch ahead only to a page's end, so
 * this is done before work that leaves time for it. Scratch memory follows all weights, so there is something to read.
 */
// @ts-ignore: decorator
@inline
export function fetchNextPage(w: usize, bytes: usize): void {
  const page = (w + bytes) & ~(PAGE - 1);
  if (page > w) store<i32>(FETCHED, load<i32>(page) | load<i32>(page, 64) | load<i32>(page, 128) | load<i32>(page, 192));
}

/** Σ of four products per lane, added to `sum`: signed bytes of a with bytes 0..127 of b. */
// @ts-ignore: decorator
@inline
export function dot4(a: v128, b: v128, sum: v128): v128 {
  return dotOf(FORM, a, b, sum);
}

/** What {@link dotOf} needs in a register besides its operands: loops read it first, because V8 moves no loads out of them. */
// @ts-ignore: decorator
@inline
export function onesOf(form: i32): v128 {
  return form == PAIRS ? v128.load32_splat(ONES) : i32x4.splat(0);
}

/** {@link dot4} in a form of ./products/form. */
// @ts-ignore: decorator
@inline
export function dotOf(form: i32, a: v128, b: v128, sum: v128, ones: v128 = onesOf(form)): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (form == DOT) return i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, sum);
    // Two products of 14 bits fit 16.
    if (form == PAIRS) {
      return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(a, b), ones));
    }
  }
  const even = i32x4.dot_i16x8_s(i16x8.shr_s(i16x8.shl(a, 8), 8), evenBytes(b));
  return i32x4.add(sum, i32x4.add(even, i32x4.dot_i16x8_s(i16x8.shr_s(a, 8), oddBytes(b))));
}

/** Bytes 0 and 2 of words, as 16 bits. */
// @ts-ignore: decorator
@inline
function evenBytes(bytes: v128): v128 {
  return v128.and(bytes, v128.load32_splat(LOWER_BYTES));
}

/** Bytes 1 and 3. */
// @ts-ignore: decorator
@inline
function oddBytes(bytes: v128): v128 {
  return i16x8.shr_u(bytes, 8);
}

/** Start of four outputs' sums, -64 Σ w, from their header words. */
// @ts-ignore: decorator
@inline
export function startOf(header: v128): v128 {
  return i32x4.shr_s(i32x4.shl(header, 16), 10);
}

/** Scales of four outputs' weights, from their header words. */
// @ts-ignore: decorator
@inline
export function scaleOf(header: v128): v128 {
  return v128.and(header, v128.load32_splat(UPPER_HALF));
}

/** before + sum * weight scale * activation scale */
// @ts-ignore: decorator
@inline
export function addScaled(before: v128, sum: v128, weightScale: v128, xScale: v128): v128 {
  return madd(f32x4.convert_i32x4_s(sum), f32x4.mul(weightScale, xScale), before);
}

/**
 * Rows of K floats → bytes and one scale per block: round(x / s) + 64 with s = max|x| / 63. `q` rows are Kpad bytes, a
 * multiple of the block; bytes beyond K stand for 0. A NaN or an infinity makes its block's scale NaN or infinite.
 */
export function quantizeRows(x: usize, xStride: usize, q: usize, scales: usize, rows: i32, K: i32, Kpad: i32): void {
  for (let r = 0; r < rows; r++) {
    const row = x + <usize>r * xStride;
    for (let begin = 0; begin < Kpad; begin += BLOCK) {
      const given = min(BLOCK, K - begin);
      const from = row + (<usize>begin << 2);
      const largest = given == BLOCK ? largestOfBlock(from) : largestOf(from, given);
      store<f32>(scales, largest / LIMIT);
      scales += 4;
      roundBlock(from, q + begin, largest > 0 ? LIMIT / largest : 0, given, OFFSET);
    }
    q += Kpad;
  }
}

/** Magnitudes compare as integers as they do as floats, and NaN is the largest. */
export function largestOfBlock(x: usize): f32 {
  const end = x + (BLOCK << 2);
  let a = i32x4.splat(0), b = a, c = a, d = a;
  for (; x < end; x += 64) {
    a = i32x4.max_u(a, f32x4.abs(v128.load(x)));
    b = i32x4.max_u(b, f32x4.abs(v128.load(x, 16)));
    c = i32x4.max_u(c, f32x4.abs(v128.load(x, 32)));
    d = i32x4.max_u(d, f32x4.abs(v128.load(x, 48)));
  }
  a = i32x4.max_u(i32x4.max_u(a, b), i32x4.max_u(c, d));
  const low = max(i32x4.extract_lane(a, 0), i32x4.extract_lane(a, 1));
  return reinterpret<f32>(max(low, max(i32x4.extract_lane(a, 2), i32x4.extract_lane(a, 3))));
}

function largestOf(x: usize, count: i32): f32 {
  let largest: i32 = 0;
  for (let k = 0; k < count; k++) largest = max(largest, load<i32>(x + (<usize>k << 2)) & 0x7fffffff);
  return reinterpret<f32>(largest);
}

/** Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the float; their lowest byte is the result. */
export function roundBlock(x: usize, q: usize, inverse: f32, count: i32, added: i32): void {
  const factor = f32x4.splat(inverse);
  const offset = i8x16.splat(<i8>added);
  let k: usize = 0;
  for (; k + 16 <= <usize>count; k += 16) {
    const magic = v128.load32_splat(ROUNDING);
    const at = x + (k << 2);
    const a = madd(v128.load(at), factor, magic), b = madd(v128.load(at, 16), factor, magic);
    const c = madd(v128.load(at, 32), factor, magic), d = madd(v128.load(at, 48), factor, magic);
    const ab = v128.shuffle<i8>(a, b, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const cd = v128.shuffle<i8>(c, d, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    v128.store(q + k, i8x16.add(v128.shuffle<i64>(ab, cd, 0, 2), offset));
  }
  for (; k < <usize>count; k++) {
    const magic = v128.load32_splat(ROUNDING);
    const bits = i32x4.extract_lane(madd(v128.load32_splat(x + (k << 2)), factor, magic), 0);
    store<i8>(q + k, <i8>(bits + added));
  }
  for (; k < <usize>BLOCK; k++) store<i8>(q + k, <i8>added);
}
