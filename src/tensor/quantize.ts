import { bytesPerWeight, type WeightDType } from './dtype.ts';
import { roundToBfloat16, roundToFloat16 } from './float16.ts';

/** Consecutive weights along the input dimension that share one scale. */
export const QUANT_BLOCK = 32;

/**
 * Rounds a weight matrix to what a storage dtype can hold, in place, still as float32.
 *
 * float32 changes nothing; bfloat16 and float16 round each value to nearest even. int8 and int4 are symmetric and
 * blockwise along a row: a block of 32 values w keeps q = round(w / scale) with scale = max|w| / 127, and for int4
 * the scale among a few candidates around max|w| / 7 that loses least (q in -8..7).
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
        for (let begin = row; begin < row + columns; begin += QUANT_BLOCK) {
          const block = weight.subarray(begin, Math.min(begin + QUANT_BLOCK, row + columns));
          const scale = scaleOf(block);
          for (let i = 0; i < block.length; i++) block[i] = quantized(block[i], scale, lowest, highest) * scale;
        }
      }
    }
  }
}

/** Bytes of a (rows, columns) weight matrix in storage, scales of short last blocks included. */
export function weightBytes(rows: number, columns: number, dtype: WeightDType): number {
  if (dtype !== 'int8' && dtype !== 'int4') return rows * columns * bytesPerWeight(dtype);
  const blocks = Math.ceil(columns / QUANT_BLOCK);
  return rows * (columns * (dtype === 'int8' ? 1 : 0.5) + blocks * 4);
}

function quantized(value: number, scale: number, lowest: number, highest: number): number {
  if (scale === 0) return 0;
  return Math.min(highest, Math.max(lowest, Math.round(value / scale)));
}

function largestMagnitude(block: Float32Array): number {
  let largest = 0;
  for (const value of block) largest = Math.max(largest, Math.abs(value));
  return largest;
}

function int8Scale(block: Float32Array): number {
  return Math.fround(largestMagnitude(block) / 127);
}

/**
 * With 16 levels the outermost value need not decide: clipping it a little often loses less over the block. The sign
 * of the scale matters as well, because -8 has no positive twin.
 */
function int4Scale(block: Float32Array): number {
  const largest = largestMagnitude(block);
  if (largest === 0) return 0;
  let best = 0;
  let leastError = Number.POSITIVE_INFINITY;
  for (let divisor = 6.5; divisor <= 8.5; divisor += 0.25) {
    for (const sign of [1, -1]) {
      const scale = Math.fround((sign * largest) / divisor);
      let error = 0;
      for (const value of block) error += (quantized(value, scale, -8, 7) * scale - value) ** 2;
      if (error < leastError) {
        leastError = error;
        best = scale;
      }
    }
  }
  return best;
}
