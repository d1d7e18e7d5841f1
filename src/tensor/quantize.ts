import type { WeightDType } from './dtype.ts';
import { roundToBfloat16, roundToFloat16 } from './float16.ts';

/**
 * Consecutive weights along the input dimension that share one scale. 8 bits lose as little in blocks of 128 as in
 * blocks of 32, and scaling costs a quarter; 4 bits need the shorter blocks.
 */
export const QUANT_BLOCK = { int8: 128, int4: 32 } as const;

/**
 * Rounds a weight matrix to what a storage dtype can hold, in place, still as float32.
 *
 * float32 changes nothing; bfloat16 and float16 round each value to nearest even. int8 and int4 are symmetric and
 * blockwise along a row: a block of values w keeps q = round(w / scale) with scale = max|w| / 127, and for int4
 * the scale among a few candidates that loses least (q in -8..7).
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
      const scaleOf = dtype === 'int8' ? int8Scale : int4Scale;
      const [lowest, highest] = dtype === 'int8' ? [-127, 127] : [-8, 7];
      for (let row = 0; row < weight.length; row += columns) {
        for (let begin = row; begin < row + columns; begin += QUANT_BLOCK[dtype]) {
          const block = weight.subarray(begin, Math.min(begin + QUANT_BLOCK[dtype], row + columns));
          const scale = scaleOf(block);
          for (let i = 0; i < block.length; i++) block[i] = quantized(block[i], scale, lowest, highest) * scale;
        }
      }
    }
  }
}

/** Bytes of a (rows, columns) weight matrix in storage: values, and per block a scale and for int8 a sum of 4 bytes each. */
export function weightBytes(rows: number, columns: number, dtype: WeightDType): number {
  switch (dtype) {
    case 'float32':
    case 'float16':
      return 4 * rows * columns;
    case 'bfloat16':
      return 2 * rows * columns;
    case 'int8':
      return rows * (columns + 8 * Math.ceil(columns / QUANT_BLOCK.int8));
    case 'int4':
      return rows * (columns / 2 + 4 * Math.ceil(columns / QUANT_BLOCK.int4));
  }
}

function quantized(value: number, scale: number, lowest: number, highest: number): number {
  if (scale === 0) return 0;
  return Math.min(highest, Math.max(lowest, Math.round(value / scale)));
}

export function largestMagnitude(block: Float32Array): number {
  let largest = 0;
  for (const value of block) largest = Math.max(largest, Math.abs(value));
  return largest;
}

function int8Scale(block: Float32Array): number {
  return Math.fround(largestMagnitude(block) / 127);
}

/** Divisors of a block's outermost value that are tried for its int4 scale; -8 makes it the level without a twin. */
const INT4_DIVISORS = [-8, -7.5, -8.5, 7];

/** With 16 levels the outermost value need not decide: clipping it a little often loses less over the block. */
export function int4Scale(block: Float32Array): number {
  const outermost = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  let best = 0;
  let leastError = Number.POSITIVE_INFINITY;
  for (const divisor of INT4_DIVISORS) {
    const scale = Math.fround(outermost / divisor);
    let error = 0;
    for (let i = 0; i < block.length; i++) error += (quantized(block[i], scale, -8, 7) * scale - block[i]) ** 2;
    if (error < leastError) {
      leastError = error;
      best = scale;
    }
  }
  return best;
}
