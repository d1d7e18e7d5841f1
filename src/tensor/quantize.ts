import type { WeightDType } from './dtype.ts';
import { roundToBfloat16, roundToFloat16 } from './float16.ts';

/**
 * Consecutive weights along the input dimension that share one scale. 8 bits lose as little in blocks of 128 as in
 * blocks of 32, and scaling costs a quarter.
 */
export const QUANT_BLOCK = 128;

/** 4 bits need shorter blocks: this many weights share a whole factor of the block's scale. */
export const INT4_PART = 32;

/**
 * Rounds a weight matrix to the values of a storage dtype, in place, still as float32.
 *
 * float32 changes nothing; bfloat16 and float16 round each value to nearest even. int8 and int4 are symmetric and
 * blockwise along a row: see {@link quantizeInt8} and {@link quantizeInt4}.
 *
 * @param weight (rows, columns), row-major; a row's last block may be short.
 */
export function roundWeight(weight: Float32Array, columns: number, dtype: WeightDType): void {
  switch (dtype) {
    case 'float32':
      return;
    case 'bfloat16':
      for (let i = 0; i < weight.length; i++) weight[i] = roundToBfloat16(weight[i]);
      return;
    case 'float16':
      for (let i = 0; i < weight.length; i++) weight[i] = roundToFloat16(weight[i]);
      return;
    case 'int8':
    case 'int4': {
      const quantize = dtype === 'int8' ? quantizeInt8 : quantizeInt4;
      const quantized = new Int8Array(QUANT_BLOCK);
      for (let row = 0; row < weight.length; row += columns) {
        for (let begin = row; begin < row + columns; begin += QUANT_BLOCK) {
          const block = weight.subarray(begin, Math.min(begin + QUANT_BLOCK, row + columns));
          const scale = quantize(block, quantized);
          for (let i = 0; i < block.length; i++) block[i] = quantized[i] * scale;
        }
      }
    }
  }
}

/** Bytes of a (rows, columns) weight matrix in storage; a row's last block counts whole. */
export function weightBytes(rows: number, columns: number, dtype: WeightDType): number {
  const blocks = rows * Math.ceil(columns / QUANT_BLOCK);
  switch (dtype) {
    case 'float32':
    case 'float16':
      return 4 * rows * columns;
    case 'bfloat16':
      return 2 * rows * columns;
    // A scale and a sum of two bytes each, and for int4 four factors of half a byte.
    case 'int8':
      return blocks * (4 + QUANT_BLOCK);
    case 'int4':
      return blocks * (4 + 2 + QUANT_BLOCK / 2);
  }
}

/**
 * A block of up to 128 values as scale * q, q in -127..127. The scale is max / 127 as bfloat16, which is near enough
 * that the largest magnitude is always 127.
 * @returns the scale
 */
export function quantizeInt8(block: Float32Array, q: Int8Array): number {
  let largest = 0;
  for (let i = 0; i < block.length; i++) largest = Math.max(largest, Math.abs(block[i]));
  const scale = roundToBfloat16(largest / 127);
  if (scale === 0) q.fill(0, 0, block.length);
  else for (let i = 0; i < block.length; i++) q[i] = clamp(nearest(block[i] / scale), -127, 127);
  return scale;
}

/**
 * A block of up to 128 values as scale * m * q, q in -8..7 and one m in 0..15 for each part of 32, so that m * q fits a
 * byte: the block is an int8 block of few levels. A scale of either sign is tried, because -8 has no twin, and the m
 * around what the part's largest value asks for; what loses least in squares is taken.
 * @param products m * q
 * @returns the scale, a bfloat16
 */
export function quantizeInt4(block: Float32Array, products: Int8Array): number {
  const factors = new Uint8Array(QUANT_BLOCK / INT4_PART);
  const scale = quantizeInt4Parts(block, products, factors);
  for (let i = 0; i < block.length; i++) products[i] *= factors[Math.floor(i / INT4_PART)];
  return scale;
}

/**
 * Quantises as above, and gives the two factors apart.
 * @param levels q
 * @param factors m of each part
 */
export function quantizeInt4Parts(block: Float32Array, levels: Int8Array, factors: Uint8Array): number {
  const positive = int4Scale(block, 1);
  const negative = int4Scale(block, -1);
  const scale = int4Error(block, positive) <= int4Error(block, negative) ? positive : negative;
  for (let begin = 0; begin < block.length; begin += INT4_PART) {
    const part = block.subarray(begin, begin + INT4_PART);
    const { factor } = int4Factor(part, scale);
    factors[begin / INT4_PART] = factor;
    for (let i = 0; i < part.length; i++) levels[begin + i] = int4Level(part[i], scale * factor);
  }
  return scale;
}

/** Scale of a block of int4 weights. No value divided by 15 times the scale lies outside of -8..7. */
function int4Scale(block: Float32Array, sign: number): number {
  return sign * roundToBfloat16(int4Step(block, sign) / 15);
}

/** The step with which 16 levels reach from the least to the greatest value, upside down if sign is -1. */
function int4Step(values: Float32Array, sign: number): number {
  let step = 0;
  for (let i = 0; i < values.length; i++) step = Math.max(step, (sign * values[i]) / 7, (sign * values[i]) / -8);
  return step;
}

function int4Error(block: Float32Array, scale: number): number {
  let error = 0;
  for (let begin = 0; begin < block.length; begin += INT4_PART) {
    error += int4Factor(block.subarray(begin, begin + INT4_PART), scale).error;
  }
  return error;
}

/** The best m of a part, and the sum of squares that it loses. Clipping the largest value a little often loses less. */
function int4Factor(part: Float32Array, scale: number): { factor: number; error: number } {
  const wanted = scale === 0 ? 0 : nearest(int4Step(part, Math.sign(scale)) / Math.abs(scale));
  let best = { factor: 0, error: Number.POSITIVE_INFINITY };
  for (let factor = Math.max(0, wanted - 2); factor <= Math.min(15, wanted + 1); factor++) {
    const step = scale * factor;
    let error = 0;
    for (let i = 0; i < part.length; i++) error += (step * int4Level(part[i], step) - part[i]) ** 2;
    if (error < best.error) best = { factor, error };
  }
  return best;
}

function int4Level(value: number, step: number): number {
  return step === 0 ? 0 : clamp(nearest(value / step), -8, 7);
}

function nearest(value: number): number {
  return Math.floor(value + 0.5);
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
