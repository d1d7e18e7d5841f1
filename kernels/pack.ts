// Rows of a weight matrix → panels of 16 outputs, and rows back out of them. What the values are rounded to is defined
// by src/tensor/quantize.ts; the same sums in the same order, in float64, make the same choices here.

import { unpackF8 } from './linear-fp8';
import { BLOCK_BYTES as INT8_BYTES } from './linear-int8';
import { BLOCK_BYTES as INT4_BYTES, PART } from './products/int4-panels';
import { byteOf, factorsOf } from './pack-int4';
import { BLOCK, headerWord, levelBytes, levels, nearest, roundBF16, sumOf, toBF16, value } from './pack-values';
import { HEADER, largestOfBlock } from './quantized';

// @ts-ignore: decorator
@inline
function panelOf(w: usize, row: i32, panelBytes: usize): usize {
  return w + <usize>(row >> 4) * panelBytes;
}

/** `count` rows of K floats from `values` on → float32 panels, from row `firstRow` on. */
export function packF32(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const rowBytes = <usize>K << 2;
  for (let row = firstRow, end = firstRow + count; row < end; ) {
    const to = panelOf(w, row, <usize>K << 6) + (<usize>(row & 15) << 2);
    const rows = (row & 3) == 0 && row + 4 <= end ? 4 : 1;
    if (rows == 4) packFourF32(values, K, to);
    else for (let k: usize = 0; k < <usize>K; k++) store<f32>(to + (k << 6), load<f32>(values + (k << 2)));
    values += rowBytes * rows;
    row += rows;
  }
}

/** Four rows at once: they share lines of the cache. */
function packFourF32(values: usize, K: i32, to: usize): void {
  const row = <usize>K << 2;
  let k = 0;
  for (; k + 4 <= K; k += 4) {
    const a = v128.load(values), b = v128.load(values + row);
    const c = v128.load(values + 2 * row), d = v128.load(values + 3 * row);
    storeTransposed(to, 64, a, b, c, d);
    values += 16;
    to += 256;
  }
  for (; k < K; k++) {
    for (let r: usize = 0; r < 4; r++) store<f32>(to + (r << 2), load<f32>(values + r * row));
    values += 4;
    to += 64;
  }
}

/** Stores words of four vectors: the first of each, then the second of each, and so on. */
// @ts-ignore: decorator
@inline
function storeTransposed(to: usize, stride: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const abHigh = v128.shuffle<i32>(a, b, 2, 6, 3, 7), cdHigh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to + stride, v128.shuffle<i64>(ab, cd, 1, 3));
  v128.store(to + 2 * stride, v128.shuffle<i64>(abHigh, cdHigh, 0, 2));
  v128.store(to + 3 * stride, v128.shuffle<i64>(abHigh, cdHigh, 1, 3));
}

function unpackF32(w: usize, row: i32, K: i32, out: usize): void {
  const from = panelOf(w, row, <usize>K << 6) + (<usize>(row & 15) << 2);
  for (let k: usize = 0; k < <usize>K; k++) store<f32>(out + (k << 2), load<f32>(from + (k << 6)));
}

/** Place of an output's 16 bits among the 32 bytes of a k: outputs 0-7 are low halves, 8-15 high halves. */
// @ts-ignore: decorator
@inline
function halfOf(row: i32): usize {
  return <usize>(((row & 7) << 2) + ((row & 8) >> 2));
}

export function packBF16(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  for (let row = firstRow, end = firstRow + count; row < end; ) {
    const panel = panelOf(w, row, <usize>K << 5);
    const rows = (row & 15) == 0 && row + 16 <= end ? 16 : 1;
    if (rows == 16) packPanelBF16(values, K, panel);
    else packRowBF16(values, 0, K, panel + halfOf(row));
    values += (<usize>K << 2) * rows;
    row += rows;
  }
}

function packRowBF16(values: usize, firstInput: i32, K: i32, to: usize): void {
  for (let k = <usize>firstInput; k < <usize>K; k++) {
    store<u16>(to + (k << 5), <u16>(roundBF16(load<u32>(values + (k << 2))) >> 16));
  }
}

/** All rows of a panel at once: each input's 32 bytes are written together. */
function packPanelBF16(values: usize, K: i32, panel: usize): void {
  const row = <usize>K << 2;
  let k = 0;
  for (; k + 4 <= K; k += 4) {
    const from = values + (<usize>k << 2), to = panel + (<usize>k << 5);
    for (let half: usize = 0; half < 2; half++) {
      const four = from + 4 * half * row;
      const a = halves(four, 8 * row), b = halves(four + row, 8 * row);
      const c = halves(four + 2 * row, 8 * row), d = halves(four + 3 * row, 8 * row);
      storeTransposed(to + (half << 4), 32, a, b, c, d);
    }
  }
  for (let lane = 0; lane < 16; lane++) packRowBF16(values + <usize>lane * row, k, K, panel + halfOf(lane));
}

/** Four values of a row in the lower halves of words, and of the row `away` in the upper halves. */
// @ts-ignore: decorator
@inline
function halves(values: usize, away: usize): v128 {
  return v128.or(i32x4.shr_u(roundedBF16(v128.load(values)), 16), roundedBF16(v128.load(values + away)));
}

// @ts-ignore: decorator
@inline
function roundedBF16(v: v128): v128 {
  const odd = v128.and(i32x4.shr_u(v, 16), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(v, i32x4.splat(0x7fff)), odd);
  const isNumber = f32x4.eq(v, v);
  return v128.and(v128.bitselect(rounded, i32x4.splat(0x7fc00000), isNumber), i32x4.splat(0xffff0000));
}

function unpackBF16(w: usize, row: i32, K: i32, out: usize): void {
  const from = panelOf(w, row, <usize>K << 5) + halfOf(row);
  for (let k: usize = 0; k < <usize>K; k++) store<u32>(out + (k << 2), <u32>load<u16>(from + (k << 5)) << 16);
}

export function packInt8(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const panelBytes = INT8_BYTES * ((K + BLOCK - 1) / BLOCK);
  for (let row = firstRow; row < firstRow + count; row++) {
    const lane = <usize>(row & 15) << 2;
    let block = panelOf(w, row, panelBytes);
    for (let begin = 0; begin < K; begin += BLOCK) {
      const length = min(BLOCK, K - begin);
      const scale = toBF16((length == BLOCK ? <f64>largestOfBlock(values) : largestOf(values, length)) / 127);
      const to = block + HEADER + lane;
      // All levels are 0 where the scale is, as memory is.
      const sum = scale == 0 ? 0 : length == BLOCK ? packLevels(values, scale, to) : packShort(values, length, scale, to);
      store<u32>(block + lane, headerWord(scale, sum));
      block += INT8_BYTES;
      values += <usize>length << 2;
    }
  }
}

const INT8_LIMITS: usize = memory.data<f64>([-127, 127]);

/** Levels of a whole block. → their sum */
function packLevels(values: usize, scale: f64, to: usize): i32 {
  const steps = f64x2.splat(scale);
  let sums = f64x2.splat(0);
  for (const end = values + (BLOCK << 2); values < end; values += 16) {
    const a = levels(values, steps, INT8_LIMITS), b = levels(values + 8, steps, INT8_LIMITS);
    sums = f64x2.add(sums, f64x2.add(a, b));
    v128.store32_lane(to, levelBytes(a, b), 0);
    to += 64;
  }
  return sumOf(sums);
}

function packShort(values: usize, length: i32, scale: f64, to: usize): i32 {
  let sum: i32 = 0;
  for (let k = 0; k < length; k++) {
    const q = <i32>min<f64>(127, max<f64>(-127, nearest(value(values, k) / scale)));
    sum += q;
    store<i8>(to + (<usize>(k >> 2) << 6) + (k & 3), <i8>q);
  }
  return sum;
}

function largestOf(values: usize, length: i32): f64 {
  let largest: f64 = 0;
  for (let k = 0; k < length; k++) largest = max(largest, abs(value(values, k)));
  return largest;
}

function unpackInt8(w: usize, row: i32, K: i32, out: usize): void {
  const lane = <usize>(row & 15) << 2;
  let block = panelOf(w, row, INT8_BYTES * ((K + BLOCK - 1) / BLOCK));
  for (let begin = 0; begin < K; begin += BLOCK) {
    const scale = reinterpret<f32>(load<u32>(block + lane) & 0xffff0000);
    const from = block + HEADER + lane;
    for (let k = 0; k < min(BLOCK, K - begin); k++) {
      store<f32>(out + (<usize>(begin + k) << 2), <f32>load<i8>(from + (<usize>(k >> 2) << 6) + (k & 3)) * scale);
    }
    block += INT8_BYTES;
  }
}

function unpackInt4(w: usize, row: i32, K: i32, out: usize): void {
  const lane = row & 15;
  let block = panelOf(w, row, INT4_BYTES * ((K + BLOCK - 1) / BLOCK));
  for (let begin = 0; begin < K; begin += BLOCK) {
    const scale = reinterpret<f32>(load<u32>(block + (<usize>lane << 2)) & 0xffff0000);
    const factors = <i32>load<u16>(factorsOf(block, lane));
    for (let k = 0; k < min(BLOCK, K - begin); k++) {
      const byte = <i32>load<i8>(byteOf(block, lane, k));
      const q = k & 4 ? byte >> 4 : (byte << 28) >> 28;
      const m = (factors >> (k / PART << 2)) & 15;
      store<f32>(out + (<usize>(begin + k) << 2), <f32>(m * q) * scale);
    }
    block += INT4_BYTES;
  }
}

/**
 * Rows of a table by id → float32 rows of out. `kind`: 0 float32, 1 bfloat16, 2 int8, 3 int4, 4 E4M3. An id outside of
 * [firstRow, firstRow + tableRows) gives zeros.
 */
export function embeddingRows(
  ids: usize, count: i32, firstRow: i32, tableRows: i32, w: usize, K: i32, kind: i32, out: usize, outStride: usize,
): void {
  for (let t: usize = 0; t < <usize>count; t++) {
    const row = load<i32>(ids + (t << 2)) - firstRow;
    const to = out + t * outStride;
    if (row < 0 || row >= tableRows) memory.fill(to, 0, <usize>K << 2);
    else if (kind == 0) unpackF32(w, row, K, to);
    else if (kind == 1) unpackBF16(w, row, K, to);
    else if (kind == 2) unpackInt8(w, row, K, to);
    else if (kind == 3) unpackInt4(w, row, K, to);
    else unpackF8(w, row, K, to);
  }
}
