// Rows of a weight matrix → panels of 16 outputs, and rows back out of them. What the values are rounded to is defined
// by src/tensor/quantize.ts; the same sums in the same order, in float64, make the same choices here.

import { BLOCK, HEADER } from './quantized';
import { unpackF8 } from './linear-fp8';
import { BLOCK_BYTES as INT8_BYTES } from './linear-int8';
import { BLOCK_BYTES as INT4_BYTES, FACTORS, PART } from './linear-int4';

/** Quantised values of one block, and what unpacking needs. */
const Q: usize = memory.data(128, 16);

// @ts-ignore: decorator
@inline
function panelOf(w: usize, row: i32, panelBytes: usize): usize {
  return w + <usize>(row >> 4) * panelBytes;
}

/** `count` rows of K floats from `values` on → float32 panels, from row `firstRow` on. */
export function packF32(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  for (let row = firstRow; row < firstRow + count; row++) {
    const to = panelOf(w, row, <usize>K << 6) + (<usize>(row & 15) << 2);
    for (let k: usize = 0; k < <usize>K; k++) store<f32>(to + (k << 6), load<f32>(values + (k << 2)));
    values += <usize>K << 2;
  }
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
  for (let row = firstRow; row < firstRow + count; row++) {
    const to = panelOf(w, row, <usize>K << 5) + halfOf(row);
    for (let k: usize = 0; k < <usize>K; k++) store<u16>(to + (k << 5), <u16>(roundBF16(load<u32>(values + (k << 2))) >> 16));
    values += <usize>K << 2;
  }
}

function unpackBF16(w: usize, row: i32, K: i32, out: usize): void {
  const from = panelOf(w, row, <usize>K << 5) + halfOf(row);
  for (let k: usize = 0; k < <usize>K; k++) store<u32>(out + (k << 2), <u32>load<u16>(from + (k << 5)) << 16);
}

/** Rounds to nearest even; NaN stays NaN. */
// @ts-ignore: decorator
@inline
function roundBF16(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc00000;
  return (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
}

// @ts-ignore: decorator
@inline
function toBF16(value: f64): f64 {
  return <f64>reinterpret<f32>(roundBF16(reinterpret<u32>(<f32>value)));
}

// @ts-ignore: decorator
@inline
function nearest(value: f64): f64 {
  return Math.floor(value + 0.5);
}

// @ts-ignore: decorator
@inline
function value(values: usize, k: i32): f64 {
  return <f64>load<f32>(values + (<usize>k << 2));
}

/** A header's word: the scale as bfloat16, and -Σ of the block's integers. */
// @ts-ignore: decorator
@inline
function headerWord(scale: f64, sum: i32): u32 {
  return (reinterpret<u32>(<f32>scale) & 0xffff0000) | (<u32>-sum & 0xffff);
}

export function packInt8(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const panelBytes = INT8_BYTES * ((K + BLOCK - 1) / BLOCK);
  for (let row = firstRow; row < firstRow + count; row++) {
    const lane = <usize>(row & 15) << 2;
    let block = panelOf(w, row, panelBytes);
    for (let begin = 0; begin < K; begin += BLOCK) {
      const length = min(BLOCK, K - begin);
      const scale = quantizeInt8(values, length);
      let sum: i32 = 0;
      const to = block + HEADER + lane;
      for (let k = 0; k < length; k++) {
        const q = load<i8>(Q + k);
        sum += q;
        store<i8>(to + (<usize>(k >> 2) << 6) + (k & 3), q);
      }
      store<u32>(block + lane, headerWord(scale, sum));
      block += INT8_BYTES;
      values += <usize>length << 2;
    }
  }
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

function quantizeInt8(values: usize, length: i32): f64 {
  let largest: f64 = 0;
  for (let k = 0; k < length; k++) largest = max(largest, abs(value(values, k)));
  const scale = toBF16(largest / 127);
  for (let k = 0; k < length; k++) {
    store<i8>(Q + k, scale == 0 ? 0 : <i8><i32>min<f64>(127, max<f64>(-127, nearest(value(values, k) / scale))));
  }
  return scale;
}

export function packInt4(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const panelBytes = INT4_BYTES * ((K + BLOCK - 1) / BLOCK);
  for (let row = firstRow; row < firstRow + count; row++) {
    const lane = <usize>(row & 15) << 2;
    let block = panelOf(w, row, panelBytes);
    for (let begin = 0; begin < K; begin += BLOCK) {
      const length = min(BLOCK, K - begin);
      packInt4Block(values, length, block, row & 15);
      block += INT4_BYTES;
      values += <usize>length << 2;
    }
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

/** An output's four factors, four bits each. */
// @ts-ignore: decorator
@inline
function factorsOf(block: usize, lane: i32): usize {
  return block + HEADER + <usize>(((lane & 7) << 2) + ((lane & 8) >> 2));
}

/** Address of the byte that holds input k of an output, in its lower half where k & 4 is 0. */
// @ts-ignore: decorator
@inline
function byteOf(block: usize, lane: i32, k: i32): usize {
  return block + HEADER + FACTORS + (<usize>(k >> 3) << 6) + (<usize>lane << 2) + (k & 3);
}

function packInt4Block(values: usize, length: i32, block: usize, lane: i32): void {
  findRange(values, length);
  const positive = int4Scale(1);
  const negative = int4Scale(-1);
  const positiveError = int4Error(values, length, positive);
  const positiveFactors = bestFactors;
  const isPositive = positiveError <= int4Error(values, length, negative);
  const scale = isPositive ? positive : negative;
  const factors = isPositive ? positiveFactors : bestFactors;
  let sum: i32 = 0;
  if (length < BLOCK) memory.fill(Q, 0, BLOCK);
  for (let k = 0; k < length; k++) {
    const factor = (factors >> (<u32>k / PART << 2)) & 15;
    const q = <i32>int4Level(value(values, k), scale * factor);
    store<i8>(Q + k, <i8>q);
    sum += <i32>factor * q;
  }
  for (let k = 0; k < length; k += 8) {
    const low = load<u32>(Q + k) & 0x0f0f0f0f, high = load<u32>(Q + k, 4) & 0x0f0f0f0f;
    store<u32>(byteOf(block, lane, k), low | (high << 4));
  }
  store<u16>(factorsOf(block, lane), <u16>factors);
  store<u32>(block + (<usize>lane << 2), headerWord(scale, sum));
}

/** The greatest and the least value of each part of a block, or 0, as f32. */
const GREATEST: usize = memory.data(16, 16), LEAST: usize = memory.data(16, 16);

function findRange(values: usize, length: i32): void {
  for (let part = 0; part < BLOCK / PART; part++) {
    let greatest = f32x4.splat(0), least = f32x4.splat(0);
    const end = min(length, (part + 1) * PART);
    let k = part * PART;
    for (; k + 4 <= end; k += 4) {
      const v = v128.load(values + (<usize>k << 2));
      greatest = f32x4.pmax(greatest, v);
      least = f32x4.pmin(least, v);
    }
    for (; k < end; k++) {
      const v = v128.load32_zero(values + (<usize>k << 2));
      greatest = f32x4.pmax(greatest, v);
      least = f32x4.pmin(least, v);
    }
    store<f32>(GREATEST + (<usize>part << 2), greatestLane(greatest));
    store<f32>(LEAST + (<usize>part << 2), -greatestLane(f32x4.neg(least)));
  }
}

// @ts-ignore: decorator
@inline
function greatestLane(v: v128): f32 {
  const two = f32x4.pmax(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return max(f32x4.extract_lane(two, 0), f32x4.extract_lane(two, 1));
}

function int4Scale(sign: f64): f64 {
  const least = -greatestLane(f32x4.neg(v128.load(LEAST)));
  return sign * toBF16(int4Step(greatestLane(v128.load(GREATEST)), least, sign) / 15);
}

/** The step with which 16 levels reach from the least to the greatest value, upside down if sign is -1. */
// @ts-ignore: decorator
@inline
function int4Step(greatest: f64, least: f64, sign: f64): f64 {
  const up = sign > 0 ? greatest : -least;
  const down = sign > 0 ? least : -greatest;
  return max(up / 7, down / -8);
}

/** The factors that {@link int4Error} chose, four bits for each part. */
let bestFactors: u32 = 0;

function int4Error(values: usize, length: i32, scale: f64): f64 {
  let error: f64 = 0;
  let factors: u32 = 0;
  for (let begin = 0; begin < length; begin += PART) {
    const part = <usize>begin / PART << 2;
    const step = int4Step(load<f32>(GREATEST + part), load<f32>(LEAST + part), scale < 0 ? -1 : 1);
    error += int4PartError(values + (<usize>begin << 2), min(PART, length - begin), scale, step);
    factors |= <u32>bestFactor << (<u32>begin / PART << 2);
  }
  bestFactors = factors;
  return error;
}

/** The choice of {@link int4PartError}. */
let bestFactor: f64 = 0;

/** Tries four factors around what `step` asks for, each in a lane of its own. */
function int4PartError(part: usize, count: i32, scale: f64, step: f64): f64 {
  const wanted = scale == 0 ? 0 : nearest(step / abs(scale));
  const steps1 = f64x2.mul(f64x2.splat(scale), f64x2.replace_lane(f64x2.splat(wanted - 2), 1, wanted - 1));
  const steps2 = f64x2.mul(f64x2.splat(scale), f64x2.replace_lane(f64x2.splat(wanted), 1, wanted + 1));
  // A product with the inverse is on the quotient's side of every half: values have 24 bits and steps 12, so a quotient that
  // is no half is further from one than 2^-40. At a half both levels have the same error.
  const inverses1 = f64x2.div(f64x2.splat(1), steps1), inverses2 = f64x2.div(f64x2.splat(1), steps2);
  let errors1 = f64x2.splat(0);
  let errors2 = f64x2.splat(0);
  for (let k = 0; k < count; k++) {
    const v = f64x2.splat(value(part, k));
    errors1 = f64x2.add(errors1, int4SquareErrors(v, steps1, inverses1));
    errors2 = f64x2.add(errors2, int4SquareErrors(v, steps2, inverses2));
  }
  bestFactor = 0;
  let least: f64 = Infinity;
  least = keepLess(least, f64x2.extract_lane(errors1, 0), wanted - 2);
  least = keepLess(least, f64x2.extract_lane(errors1, 1), wanted - 1);
  least = keepLess(least, f64x2.extract_lane(errors2, 0), wanted);
  return keepLess(least, f64x2.extract_lane(errors2, 1), wanted + 1);
}

/** Constants for rounding and clamping; see CONSTANTS in ./math. */
const INT4_LIMITS: usize = memory.data<f64>([0.5, 7, -8]);

/** A step of 0 leaves the value as its error, whatever the level: one that is not a number counts as -8. */
// @ts-ignore: decorator
@inline
function int4SquareErrors(v: v128, steps: v128, inverses: v128): v128 {
  const levels = f64x2.floor(f64x2.add(f64x2.mul(v, inverses), v128.load64_splat(INT4_LIMITS)));
  const clamped = f64x2.pmin(v128.load64_splat(INT4_LIMITS, 8), f64x2.pmax(v128.load64_splat(INT4_LIMITS, 16), levels));
  const off = f64x2.sub(f64x2.mul(steps, clamped), v);
  return f64x2.mul(off, off);
}

// @ts-ignore: decorator
@inline
function keepLess(least: f64, error: f64, factor: f64): f64 {
  if (factor < 0 || factor > 15 || !(error < least)) return least;
  bestFactor = factor;
  return error;
}

// @ts-ignore: decorator
@inline
function int4Level(v: f64, step: f64): f64 {
  return step == 0 ? 0 : min<f64>(7, max<f64>(-8, nearest(v / step)));
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
