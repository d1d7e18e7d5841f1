// Rows of a weight matrix → int4 panels of 16 outputs. What the values are rounded to is defined by
// src/tensor/quantize.ts; the choices here are the same.

import { HEADER } from './quantized';
import { BLOCK_BYTES, FACTORS, PART } from './products/int4-panels';
import { madd } from './math';
import { BLOCK, headerWord, levelBytes, levels, nearest, sumOf, toBF16, value } from './pack-values';

export function packInt4(values: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const panelBytes = BLOCK_BYTES * ((K + BLOCK - 1) / BLOCK);
  for (let row = firstRow; row < firstRow + count; row++) {
    let block = w + <usize>(row >> 4) * panelBytes;
    for (let begin = 0; begin < K; begin += BLOCK) {
      const length = min(BLOCK, K - begin);
      packBlock(values, length, block, row & 15);
      block += BLOCK_BYTES;
      values += <usize>length << 2;
    }
  }
}

/** An output's four factors, four bits each. */
// @ts-ignore: decorator
@inline
export function factorsOf(block: usize, lane: i32): usize {
  return block + HEADER + <usize>(((lane & 7) << 2) + ((lane & 8) >> 2));
}

/** Address of the byte that holds input k of an output, in its lower half where k & 4 is 0. */
// @ts-ignore: decorator
@inline
export function byteOf(block: usize, lane: i32, k: i32): usize {
  return block + HEADER + FACTORS + (<usize>(k >> 3) << 6) + (<usize>lane << 2) + (k & 3);
}

function packBlock(values: usize, length: i32, block: usize, lane: i32): void {
  findRange(values, length);
  choose(values, length, int4Scale(1), int4Scale(-1));
  let sum: i32 = 0;
  for (let begin = 0; begin < length; begin += PART) {
    const factor = (bestFactors >> (<u32>begin / PART << 2)) & 15;
    const step = bestScale * factor;
    const part = values + (<usize>begin << 2);
    const to = byteOf(block, lane, begin);
    const levels = length - begin < PART ? packShortPart(part, length - begin, step, to) : packPart(part, step, to);
    sum += <i32>factor * levels;
  }
  store<u16>(factorsOf(block, lane), <u16>bestFactors);
  store<u32>(block + (<usize>lane << 2), headerWord(bestScale, sum));
}

const LIMITS: usize = memory.data<f64>([-8, 7]);

/** Levels of a whole part. → their sum */
function packPart(part: usize, step: f64, to: usize): i32 {
  // All levels are 0, as memory is.
  if (step == 0) return 0;
  const steps = f64x2.splat(step);
  const mask = i32x4.splat(0x0f0f0f0f);
  let sums = f64x2.splat(0);
  for (let k: usize = 0; k < <usize>PART; k += 8) {
    const a = levels(part, steps, LIMITS), b = levels(part + 8, steps, LIMITS);
    const c = levels(part + 16, steps, LIMITS), d = levels(part + 24, steps, LIMITS);
    sums = f64x2.add(sums, f64x2.add(f64x2.add(a, b), f64x2.add(c, d)));
    const low = levelBytes(a, b), high = levelBytes(c, d);
    v128.store32_lane(to, v128.or(v128.and(low, mask), i32x4.shl(v128.and(high, mask), 4)), 0);
    part += 32;
    to += 64;
  }
  return sumOf(sums);
}

function packShortPart(part: usize, length: i32, step: f64, to: usize): i32 {
  let sum: i32 = 0;
  for (let k = 0; k < length; k++) {
    const q = step == 0 ? 0 : <i32>min<f64>(7, max<f64>(-8, nearest(value(part, k) / step)));
    const byte = to + (<usize>(k >> 3) << 6) + (k & 3);
    store<u8>(byte, <u8>(k & 4 ? load<u8>(byte) | (q << 4) : q & 15));
    sum += q;
  }
  return sum;
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

/** What {@link choose} chose: a scale, and four bits for the factor of each part. */
let bestScale: f64 = 0;
let bestFactors: u32 = 0;

/** Chooses the scale and the factors that lose least in squares. */
function choose(values: usize, length: i32, positive: f64, negative: f64): void {
  if (length == BLOCK && estimate(values, positive, negative)) return;
  const positiveError = int4Error(values, length, positive);
  const positiveFactors = bestFactors;
  const isPositive = positiveError <= int4Error(values, length, negative);
  bestScale = isPositive ? positive : negative;
  if (isPositive) bestFactors = positiveFactors;
}

/** Constants of estimates: 1.5 * 2^23, which leaves integers in the low bits, and the bounds of levels above it. */
const LEVELS: usize = memory.data<f32>([12582912.0, 12582904.0, 12582919.0]);

/**
 * The part of a sum of squares by which two estimates must differ to be told apart. In float32 a level is off only next to
 * a half, where the other one loses as much; with what sums round off an estimate is within 1e-5 of what it estimates.
 */
const DOUBT: f32 = 1.0 / 32768;
/** Sums of squares below this may have lost numbers that are too small for float32. */
const LEAST_ERROR: f32 = 1e-25;

/** Whether the factors that {@link estimatedError} chose are those of {@link int4Error}. */
let isCertain: bool = false;

/** Makes the choice in float32. → whether it is certain to be that of float64 */
function estimate(values: usize, positive: f64, negative: f64): bool {
  const positiveError = estimatedError(values, <f32>positive);
  const positiveFactors = bestFactors, isPositiveCertain = isCertain;
  const negativeError = estimatedError(values, <f32>negative);
  const isPositive = positiveError <= negativeError;
  bestScale = isPositive ? positive : negative;
  if (isPositive) {
    bestFactors = positiveFactors;
    isCertain = isPositiveCertain;
  }
  return isCertain && isApart(min(positiveError, negativeError), max(positiveError, negativeError));
}

// @ts-ignore: decorator
@inline
function isApart(least: f32, next: f32): bool {
  return next > LEAST_ERROR && next - least > DOUBT * next;
}

/** For each part: the factor that its range asks for, and the least sum of squares and the one after that. */
const WANTED: usize = memory.data(32, 16), LEAST_SUMS: usize = memory.data(16, 16), NEXT_SUMS: usize = memory.data(16, 16);
/** Factors that are tried, less the wanted one. */
const AROUND: usize = memory.data<f32>([-2, -1, 0, 1], 16);

/** The sum of squares that a whole block loses with a scale, and in `bestFactors` the factors of its parts. */
function estimatedError(values: usize, scale: f32): f32 {
  findWanted(scale);
  let factors: u32 = 0;
  for (let part: usize = 0; part < <usize>(BLOCK / PART); part++) {
    const wanted = <f32>load<f64>(WANTED + (part << 3));
    const first = wanted - 2;
    estimatePart(values, scale * first, SUMS);
    estimatePart(values, scale * (wanted - 1), SUMS + 32);
    estimatePart(values, scale * wanted, SUMS + 64);
    estimatePart(values, scale * (wanted + 1), SUMS + 96);
    const tried = f32x4.add(f32x4.splat(wanted), v128.load(AROUND));
    const isFactor = v128.and(f32x4.ge(tried, f32x4.splat(0)), f32x4.le(tried, f32x4.splat(15)));
    const sums = v128.bitselect(fourSums(), f32x4.splat(Infinity), isFactor);
    const neighbours = v128.shuffle<i32>(sums, sums, 1, 0, 3, 2);
    const low = f32x4.pmin(sums, neighbours), high = f32x4.pmax(sums, neighbours);
    const otherLow = v128.shuffle<i32>(low, low, 2, 3, 0, 1), otherHigh = v128.shuffle<i32>(high, high, 2, 3, 0, 1);
    const least = f32x4.pmin(low, otherLow);
    v128.store32_lane(LEAST_SUMS + (part << 2), least, 0);
    v128.store32_lane(NEXT_SUMS + (part << 2), f32x4.pmin(f32x4.pmax(low, otherLow), f32x4.pmin(high, otherHigh)), 0);
    const best = <i32>first + ctz(i32x4.bitmask(f32x4.eq(sums, least)));
    factors |= (best & 15) << (<u32>part << 2);
    values += PART << 2;
  }
  bestFactors = factors;
  const least = v128.load(LEAST_SUMS), next = v128.load(NEXT_SUMS);
  const apart = f32x4.gt(f32x4.sub(next, least), f32x4.mul(next, f32x4.splat(DOUBT)));
  isCertain = i32x4.all_true(v128.and(apart, f32x4.gt(next, f32x4.splat(LEAST_ERROR))));
  const two = f32x4.add(least, v128.shuffle<i32>(least, least, 2, 3, 0, 1));
  return f32x4.extract_lane(two, 0) + f32x4.extract_lane(two, 1);
}

/** In float64, as the choice among these factors has to be the one that is made there. */
function findWanted(scale: f64): void {
  for (let pair: usize = 0; pair < 2; pair++) {
    const greatest = f64x2.promote_low_f32x4(v128.load64_zero(GREATEST + (pair << 3)));
    const least = f64x2.promote_low_f32x4(v128.load64_zero(LEAST + (pair << 3)));
    const up = scale < 0 ? f64x2.neg(least) : greatest, down = scale < 0 ? f64x2.neg(greatest) : least;
    const steps = f64x2.pmax(f64x2.div(up, f64x2.splat(7)), f64x2.mul(down, f64x2.splat(-0.125)));
    const wanted = f64x2.floor(f64x2.add(f64x2.div(steps, f64x2.splat(abs(scale))), f64x2.splat(0.5)));
    v128.store(WANTED + (pair << 4), wanted);
  }
}

/** Eight sums for each factor. Stored next to each other, they are made of vectors of 256 bits. */
const SUMS: usize = memory.data(128, 32);

function estimatePart(part: usize, step: f32, sums: usize): void {
  // For a step of 0 levels do not matter.
  const inverses = f32x4.splat(<f32>1 / step), steps = f32x4.splat(-step);
  const zero = f32x4.splat(0);
  let a = addSquares(v128.load(part), steps, inverses, zero);
  let b = addSquares(v128.load(part, 16), steps, inverses, zero);
  a = addSquares(v128.load(part, 32), steps, inverses, a);
  b = addSquares(v128.load(part, 48), steps, inverses, b);
  a = addSquares(v128.load(part, 64), steps, inverses, a);
  b = addSquares(v128.load(part, 80), steps, inverses, b);
  a = addSquares(v128.load(part, 96), steps, inverses, a);
  b = addSquares(v128.load(part, 112), steps, inverses, b);
  v128.store(sums, a);
  v128.store(sums, b, 16);
}

// @ts-ignore: decorator
@inline
function addSquares(v: v128, steps: v128, inverses: v128, sums: v128): v128 {
  const magic = v128.load32_splat(LEVELS);
  const rounded = madd(v, inverses, magic);
  const clamped = f32x4.pmin(v128.load32_splat(LEVELS, 8), f32x4.pmax(v128.load32_splat(LEVELS, 4), rounded));
  const off = madd(f32x4.sub(clamped, magic), steps, v);
  return madd(off, off, sums);
}

/** The sums of the four factors. */
// @ts-ignore: decorator
@inline
function fourSums(): v128 {
  const a = f32x4.add(v128.load(SUMS), v128.load(SUMS, 16)), b = f32x4.add(v128.load(SUMS, 32), v128.load(SUMS, 48));
  const c = f32x4.add(v128.load(SUMS, 64), v128.load(SUMS, 80)), d = f32x4.add(v128.load(SUMS, 96), v128.load(SUMS, 112));
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** The sum of squares that a block loses with a scale, in float64, and in `bestFactors` the factors of its parts. */
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
const ROUNDING: usize = memory.data<f64>([0.5, 7, -8]);

/** A step of 0 leaves the value as its error, whatever the level: one that is not a number counts as -8. */
// @ts-ignore: decorator
@inline
function int4SquareErrors(v: v128, steps: v128, inverses: v128): v128 {
  const rounded = f64x2.floor(f64x2.add(f64x2.mul(v, inverses), v128.load64_splat(ROUNDING)));
  const clamped = f64x2.pmin(v128.load64_splat(ROUNDING, 8), f64x2.pmax(v128.load64_splat(ROUNDING, 16), rounded));
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
