// Activations as the formats' products take them.

import { BLOCK, largestOfBlock, quantizeRows, roundBlock } from '../quantized';
import { hasMinima, hasZeroPoints, isSigned, partInputs, zeroPoint } from './formats';

/** Largest magnitude of an activation as a signed byte. */
const SIGNED_LIMIT: f32 = 127;

/**
 * Rows of K floats, a multiple of 128, as bytes with one scale per 128: of 7 bits for signed weights (quantizeRows), else
 * signed, round(x / s) with s = max|x| / 127.
 *
 * Signed ones have sums, too, {@link sumBytes} for 128 inputs: of each part as a word, times -1 (zero points) or -zero; or
 * of the parts that minima are for, two in a word: 0 and 2, 1 and 3.
 */
export function quantizeFor<F>(x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32): void {
  if (isSigned<F>()) quantizeRows(x, xStride, q, scales, rows, K, K);
  else quantize(x, xStride, q, scales, sums, rows, K, partInputs<F>(), hasMinima<F>() ? 0 : hasZeroPoints<F>() ? 1 : zeroPoint<F>());
}

/** Bytes of the sums of x over 128 inputs. */
// @ts-ignore: decorator
@inline
export function sumBytes<F>(): usize {
  if (isSigned<F>()) return 0;
  return hasMinima<F>() ? 8 : <usize>(BLOCK / partInputs<F>()) << 2;
}

/** @param factor what sums are multiplied with, negative: zero points, or 1. 0: the sums are for minima. */
function quantize(
  x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32, part: i32, factor: i32,
): void {
  for (let r = 0; r < rows; r++) {
    const row = x + <usize>r * xStride;
    for (let k: usize = 0; k < <usize>K; k += <usize>BLOCK) {
      const from = row + (k << 2);
      const largest = largestOfBlock(from);
      store<f32>(scales, largest / SIGNED_LIMIT);
      scales += 4;
      const to = q + k;
      roundBlock(from, to, largest > 0 ? SIGNED_LIMIT / largest : 0, BLOCK, 0);
      if (factor == 0) {
        store<i32>(sums, (sumOf(to, 32) & 0xffff) | (sumOf(to + 64, 32) << 16));
        store<i32>(sums, (sumOf(to + 32, 32) & 0xffff) | (sumOf(to + 96, 32) << 16), 4);
        sums += 8;
      } else {
        for (let i = 0; i < BLOCK; i += part) {
          store<i32>(sums, -factor * sumOf(to + i, part));
          sums += 4;
        }
      }
    }
    q += K;
  }
}

/** Sum of signed bytes, a multiple of 16. */
function sumOf(q: usize, count: usize): i32 {
  let sum = i32x4.splat(0);
  for (const end = q + count; q < end; q += 16) {
    sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v128.load(q))));
  }
  const two = i32x4.add(sum, v128.shuffle<i64>(sum, sum, 1, 0));
  return i32x4.extract_lane(two, 0) + i32x4.extract_lane(two, 1);
}
