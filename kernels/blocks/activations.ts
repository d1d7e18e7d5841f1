// Activations as the formats' products take them.

import { BLOCK, largestOfBlock, quantizeRows, roundBlock } from '../quantized';
import {
  hasMinima, hasZeroPoints, INT4_G128, INT4_G32, INT4_G64, isSigned, MXFP4, NVFP4, partInputs, Q4_0, Q4_K, Q5_K, Q6_K, zeroPoint,
} from './formats';

/** Largest magnitude of an activation as a signed byte. */
const SIGNED_LIMIT: f32 = 127;

/**
 * Rows of K floats, a multiple of 128, as bytes with one scale per 128: of 7 bits for signed weights (quantizeRows), else
 * signed, round(x / s) with s = max|x| / 127.
 *
 * Signed ones have sums, too, {@link sumBytes} for 128 inputs: of each part as a word, times -1 (zero points) or -zero; or
 * of the parts that minima are for, two in a word: 0 and 2, 1 and 3.
 * @param format as in linearBlocks
 */
export function quantizeForBlocks(
  format: i32, x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32,
): void {
  if (format == 0 || format == 10) quantizeRows(x, xStride, q, scales, rows, K, K);
  else if (format == 1) quantize<Q4_0>(x, xStride, q, scales, sums, rows, K);
  else if (format == 2) quantize<Q4_K>(x, xStride, q, scales, sums, rows, K);
  else if (format == 3) quantize<Q5_K>(x, xStride, q, scales, sums, rows, K);
  else if (format == 4) quantize<Q6_K>(x, xStride, q, scales, sums, rows, K);
  else if (format == 5) quantize<MXFP4>(x, xStride, q, scales, sums, rows, K);
  else if (format == 6) quantize<NVFP4>(x, xStride, q, scales, sums, rows, K);
  else if (format == 7) quantize<INT4_G32>(x, xStride, q, scales, sums, rows, K);
  else if (format == 8) quantize<INT4_G64>(x, xStride, q, scales, sums, rows, K);
  else quantize<INT4_G128>(x, xStride, q, scales, sums, rows, K);
}

/** Bytes of the sums of x over 128 inputs. */
// @ts-ignore: decorator
@inline
export function sumBytes<F>(): usize {
  if (isSigned<F>()) return 0;
  return hasMinima<F>() ? 8 : <usize>(BLOCK / partInputs<F>()) << 2;
}

function quantize<F>(x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32): void {
  for (let r = 0; r < rows; r++) {
    const row = x + <usize>r * xStride;
    for (let k: usize = 0; k < <usize>K; k += <usize>BLOCK) {
      const from = row + (k << 2);
      const largest = largestOfBlock(from);
      store<f32>(scales, largest / SIGNED_LIMIT);
      scales += 4;
      roundBlock(from, q + k, largest > 0 ? SIGNED_LIMIT / largest : 0, BLOCK, 0);
      storeSums<F>(q + k, sums);
      sums += sumBytes<F>();
    }
    q += K;
  }
}

// @ts-ignore: decorator
@inline
function storeSums<F>(q: usize, sums: usize): void {
  if (hasMinima<F>()) {
    store<i32>(sums, (sumOf(q, 32) & 0xffff) | (sumOf(q + 64, 32) << 16));
    store<i32>(sums, (sumOf(q + 32, 32) & 0xffff) | (sumOf(q + 96, 32) << 16), 4);
    return;
  }
  const factor = hasZeroPoints<F>() ? 1 : zeroPoint<F>();
  for (let k: usize = 0; k < <usize>BLOCK; k += <usize>partInputs<F>()) {
    store<i32>(sums, -factor * sumOf(q + k, partInputs<F>()));
    sums += 4;
  }
}

/** Sum of signed bytes, a multiple of 16. */
// @ts-ignore: decorator
@inline
function sumOf(q: usize, count: usize): i32 {
  let sum = i32x4.splat(0);
  for (const end = q + count; q < end; q += 16) {
    sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v128.load(q))));
  }
  const two = i32x4.add(sum, v128.shuffle<i64>(sum, sum, 1, 0));
  return i32x4.extract_lane(two, 0) + i32x4.extract_lane(two, 1);
}
