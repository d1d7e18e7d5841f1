// One row of x and weights in blocks: nothing is spelled out. Four rows of weights pass together; a vector holds the sums
// of 16 neighbouring inputs in four parts, which meet at the end of a block of 128 inputs (where scales are floats, of a
// part). Integer sums are the same in any order, so the result has the bits that product.ts gives.

import { madd } from '../math';
import { BLOCK, dot4 } from '../quantized';
import { blockBytes, chunkOf, halves, hasFloatScales, is, minimaOfK, Q4_0, Q6_K, Q8_0, scalesOfK } from './formats';

/** Arguments as those of linearBlocks. */
export function oneRow<F>(
  q: usize, scales: usize, sums: usize, w: usize, rowBytes: usize, outFeatures: i32, out: usize, K: i32,
): void {
  for (let output = 0; output < outFeatures; output += 4) {
    const last = <usize>(outFeatures - 1 - output);
    const b = w + min<usize>(1, last) * rowBytes, c = w + min<usize>(2, last) * rowBytes, d = w + min<usize>(3, last) * rowBytes;
    if (hasFloatScales<F>()) v128.store(out, floatScales<F>(q, scales, sums, w, b, c, d, K));
    else v128.store(out, integerScales<F>(q, scales, sums, w, b, c, d, K));
    w += rowBytes << 2;
    out += 16;
  }
}

/** Formats whose parts have a float of 16 bits each. */
// @ts-ignore: decorator
@inline
function floatScales<F>(q: usize, scales: usize, sums: usize, a: usize, b: usize, c: usize, d: usize, K: i32): v128 {
  let y = f32x4.splat(0);
  const end = q + <usize>K;
  const bytes = <usize>blockBytes<F>() >> 2;
  while (q < end) {
    let total = f32x4.splat(0);
    for (let part: usize = 0; part < 4; part++) {
      const start = i32x4.splat(is<F, Q4_0>() ? -8 * (<i32>load<i16>(sums) + <i32>load<i16>(sums, 2)) : 0);
      const x0 = v128.load(q), x1 = v128.load(q, 16);
      const sum = across(
        partSum<F>(x0, x1, a, 0), partSum<F>(x0, x1, b, 0), partSum<F>(x0, x1, c, 0), partSum<F>(x0, x1, d, 0),
      );
      total = f32x4.add(total, f32x4.mul(f32x4.convert_i32x4_s(i32x4.add(start, sum)), halves(0, a, b, c, d)));
      a += bytes;
      b += bytes;
      c += bytes;
      d += bytes;
      q += 32;
      sums += 4;
    }
    y = madd(total, v128.load32_splat(scales), y);
    scales += 4;
  }
  return y;
}

/** Four sums that make that of 32 inputs. */
// @ts-ignore: decorator
@inline
function partSum<F>(x0: v128, x1: v128, block: usize, half: usize): v128 {
  const w0 = chunkOf<F>(block, half, 0), w1 = chunkOf<F>(block, half, 1);
  const none = i32x4.splat(0);
  if (!is<F, Q8_0>()) return dot4(x1, w1, dot4(x0, w0, none));
  // 64 more in each byte of x.
  const offset = i8x16.splat(64);
  return i32x4.sub(dot4(w1, x1, dot4(w0, x0, none)), dot4(w1, offset, dot4(w0, offset, none)));
}

/** Formats whose parts have integers, and whose blocks of 256 inputs have floats. */
// @ts-ignore: decorator
@inline
function integerScales<F>(q: usize, scales: usize, sums: usize, a: usize, b: usize, c: usize, d: usize, K: i32): v128 {
  let y = f32x4.splat(0);
  const end = q + <usize>K;
  const bytes = <usize>blockBytes<F>();
  while (q < end) {
    const factor = halves(is<F, Q6_K>() ? 208 : 0, a, b, c, d);
    const minimumFactor = is<F, Q6_K>() ? factor : f32x4.neg(halves(2, a, b, c, d));
    for (let half: usize = 0; half < 2; half++) {
      const xScale = v128.load32_splat(scales);
      const sum = across(
        blockSum<F>(q, sums, a, half), blockSum<F>(q, sums, b, half), blockSum<F>(q, sums, c, half),
        blockSum<F>(q, sums, d, half),
      );
      y = madd(f32x4.convert_i32x4_s(sum), f32x4.mul(factor, xScale), y);
      if (!is<F, Q6_K>()) {
        const minima = across(
          minimumSum(sums, a, half), minimumSum(sums, b, half), minimumSum(sums, c, half), minimumSum(sums, d, half),
        );
        y = madd(f32x4.convert_i32x4_s(minima), f32x4.mul(minimumFactor, xScale), y);
      }
      q += BLOCK;
      sums += 16;
      scales += 4;
    }
    a += bytes;
    b += bytes;
    c += bytes;
    d += bytes;
  }
  return y;
}

/** Four sums that make that of 128 inputs, parts times their scales. */
// @ts-ignore: decorator
@inline
function blockSum<F>(q: usize, sums: usize, block: usize, half: usize): v128 {
  const none = i32x4.splat(0);
  if (is<F, Q6_K>()) {
    // Eight scales, and -32 Σ x of each part.
    const s = v128.load8x8_s(block + 192 + (half << 3));
    let total = i32x4.dot_i16x8_s(s, i16x8.neg(v128.load(sums)));
    total = i32x4.shl(total, 5);
    const low = i32x4.extend_low_i16x8_s(s), high = i32x4.extend_high_i16x8_s(s);
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q), chunkOf<F>(block, half, 0), none), v128.shuffle<i32>(low, low, 0, 0, 0, 0)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 16), chunkOf<F>(block, half, 1), none), v128.shuffle<i32>(low, low, 1, 1, 1, 1)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 32), chunkOf<F>(block, half, 2), none), v128.shuffle<i32>(low, low, 2, 2, 2, 2)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 48), chunkOf<F>(block, half, 3), none), v128.shuffle<i32>(low, low, 3, 3, 3, 3)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 64), chunkOf<F>(block, half, 4), none), v128.shuffle<i32>(high, high, 0, 0, 0, 0)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 80), chunkOf<F>(block, half, 5), none), v128.shuffle<i32>(high, high, 1, 1, 1, 1)));
    total = i32x4.add(total, i32x4.mul(dot4(v128.load(q, 96), chunkOf<F>(block, half, 6), none), v128.shuffle<i32>(high, high, 2, 2, 2, 2)));
    return i32x4.add(total, i32x4.mul(dot4(v128.load(q, 112), chunkOf<F>(block, half, 7), none), v128.shuffle<i32>(high, high, 3, 3, 3, 3)));
  }
  const s = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(i32x4.splat(scalesOfK(block, half))));
  const p0 = dot4(v128.load(q, 16), chunkOf<F>(block, half, 1), dot4(v128.load(q), chunkOf<F>(block, half, 0), none));
  const p1 = dot4(v128.load(q, 48), chunkOf<F>(block, half, 3), dot4(v128.load(q, 32), chunkOf<F>(block, half, 2), none));
  const p2 = dot4(v128.load(q, 80), chunkOf<F>(block, half, 5), dot4(v128.load(q, 64), chunkOf<F>(block, half, 4), none));
  const p3 = dot4(v128.load(q, 112), chunkOf<F>(block, half, 7), dot4(v128.load(q, 96), chunkOf<F>(block, half, 6), none));
  const even = i32x4.add(i32x4.mul(p0, v128.shuffle<i32>(s, s, 0, 0, 0, 0)), i32x4.mul(p2, v128.shuffle<i32>(s, s, 2, 2, 2, 2)));
  const odd = i32x4.add(i32x4.mul(p1, v128.shuffle<i32>(s, s, 1, 1, 1, 1)), i32x4.mul(p3, v128.shuffle<i32>(s, s, 3, 3, 3, 3)));
  return i32x4.add(even, odd);
}

/** Four sums that make that of the minima times Σ x of their parts. */
// @ts-ignore: decorator
@inline
function minimumSum(sums: usize, block: usize, half: usize): v128 {
  const m = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(i32x4.splat(minimaOfK(block, half))));
  return i32x4.mul(m, i32x4.extadd_pairwise_i16x8_s(v128.load(sums)));
}

/** The sums of the lanes of four vectors. */
// @ts-ignore: decorator
@inline
function across(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}
