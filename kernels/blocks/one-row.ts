// One row of x and weights in blocks: nothing is spelled out. Four rows of weights pass together; a vector holds the sums
// of 16 neighbouring inputs in four parts, which meet at the end of a block of 128 inputs (where scales are floats, of a
// part). Integer sums are the same in any order, so the result has the bits that product.ts gives.

import { madd } from '../math';
import { addScaled, BLOCK, dot4 } from '../quantized';
import { blockBytes, chunkOf, constant, halves, hasFloatScales, is, LOW_BITS, LOWER_HALF, Q4_0, Q6_K, Q8_0, SIX_BITS, UPPER_TWO } from './formats';

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
    const xScale0 = v128.load32_splat(scales), xScale1 = v128.load32_splat(scales, 4);
    const ia = integersOf<F>(a), ib = integersOf<F>(b), ic = integersOf<F>(c), id = integersOf<F>(d);
    const sum0 = halfSums<F>(q, sums, a, b, c, d, ia, ib, ic, id, 0);
    const sum1 = halfSums<F>(q + BLOCK, sums + 16, a, b, c, d, ia, ib, ic, id, 1);
    const factor = halves(is<F, Q6_K>() ? 208 : 0, a, b, c, d);
    if (is<F, Q6_K>()) {
      y = addScaled(y, sum0, factor, xScale0);
      y = addScaled(y, sum1, factor, xScale1);
    } else {
      // Σ x of the eight parts, times their minima: two lanes for each half of a block.
      const x = i16x8.narrow_i32x4_s(
        i32x4.extadd_pairwise_i16x8_s(v128.load(sums)), i32x4.extadd_pairwise_i16x8_s(v128.load(sums, 16)),
      );
      const ma = minimumSums(ia, x), mb = minimumSums(ib, x), mc = minimumSums(ic, x), md = minimumSums(id, x);
      const ab = i32x4.add(v128.shuffle<i32>(ma, mb, 0, 4, 2, 6), v128.shuffle<i32>(ma, mb, 1, 5, 3, 7));
      const cd = i32x4.add(v128.shuffle<i32>(mc, md, 0, 4, 2, 6), v128.shuffle<i32>(mc, md, 1, 5, 3, 7));
      const minimumFactor = f32x4.neg(halves(2, a, b, c, d));
      y = addScaled(y, sum0, factor, xScale0);
      y = addScaled(y, v128.shuffle<i64>(ab, cd, 0, 2), minimumFactor, xScale0);
      y = addScaled(y, sum1, factor, xScale1);
      y = addScaled(y, v128.shuffle<i64>(ab, cd, 1, 3), minimumFactor, xScale1);
    }
    q += 2 * BLOCK;
    sums += 32;
    scales += 8;
    a += bytes;
    b += bytes;
    c += bytes;
    d += bytes;
  }
  return y;
}

/** Bytes of a block's integers: eight scales and eight minima of Q4_K and Q5_K, sixteen scales of Q6_K. */
// @ts-ignore: decorator
@inline
function integersOf<F>(block: usize): v128 {
  if (is<F, Q6_K>()) return v128.load(block + 192);
  // Words of scales and minima 0 to 3, and one with four bits each of scales and minima 4 to 7.
  const packed = v128.load(block, 4);
  const first = v128.and(packed, constant(SIX_BITS));
  const low = v128.and(v128.shuffle<i32>(packed, i32x4.shr_u(packed, 4), 2, 6, 2, 6), constant(LOW_BITS));
  const second = v128.or(low, v128.and(i32x4.shr_u(packed, 2), constant(UPPER_TWO)));
  return v128.shuffle<i32>(first, second, 0, 4, 1, 5);
}

/** Σ of minima times Σ x of their parts, in pairs of parts. */
// @ts-ignore: decorator
@inline
function minimumSums(integers: v128, x: v128): v128 {
  return i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(integers), x);
}

/** Four rows' sums over 128 inputs, parts times their scales. */
// @ts-ignore: decorator
@inline
function halfSums<F>(
  q: usize, sums: usize, a: usize, b: usize, c: usize, d: usize, ia: v128, ib: v128, ic: v128, id: v128, half: usize,
): v128 {
  const x0 = v128.load(q), x1 = v128.load(q, 16), x2 = v128.load(q, 32), x3 = v128.load(q, 48);
  const x4 = v128.load(q, 64), x5 = v128.load(q, 80), x6 = v128.load(q, 96), x7 = v128.load(q, 112);
  return across(
    blockSum<F>(x0, x1, x2, x3, x4, x5, x6, x7, sums, a, ia, half), blockSum<F>(x0, x1, x2, x3, x4, x5, x6, x7, sums, b, ib, half),
    blockSum<F>(x0, x1, x2, x3, x4, x5, x6, x7, sums, c, ic, half), blockSum<F>(x0, x1, x2, x3, x4, x5, x6, x7, sums, d, id, half),
  );
}

/**
 * Four sums that make that of 128 inputs, parts times their scales. A lane's sum over a part fits 16 bits: eight products
 * of at most 31 * 127, or four of 63 * 127. So the sums of two parts meet in a vector, and one instruction multiplies and
 * adds them.
 */
// @ts-ignore: decorator
@inline
function blockSum<F>(
  x0: v128, x1: v128, x2: v128, x3: v128, x4: v128, x5: v128, x6: v128, x7: v128, sums: usize, block: usize, integers: v128,
  half: usize,
): v128 {
  const none = i32x4.splat(0);
  const w0 = chunkOf<F>(block, half, 0), w1 = chunkOf<F>(block, half, 1), w2 = chunkOf<F>(block, half, 2), w3 = chunkOf<F>(block, half, 3);
  const w4 = chunkOf<F>(block, half, 4), w5 = chunkOf<F>(block, half, 5), w6 = chunkOf<F>(block, half, 6), w7 = chunkOf<F>(block, half, 7);
  if (is<F, Q6_K>()) {
    const s = half == 0 ? i16x8.extend_low_i8x16_s(integers) : i16x8.extend_high_i8x16_s(integers);
    const zero = i32x4.shl(i32x4.dot_i16x8_s(s, v128.load(sums)), 5);
    const low = doubled(i32x4.extend_low_i16x8_s(s)), high = doubled(i32x4.extend_high_i16x8_s(s));
    const p0 = i16x8.narrow_i32x4_s(dot4(x0, w0, none), dot4(x1, w1, none)), p1 = i16x8.narrow_i32x4_s(dot4(x2, w2, none), dot4(x3, w3, none));
    const p2 = i16x8.narrow_i32x4_s(dot4(x4, w4, none), dot4(x5, w5, none)), p3 = i16x8.narrow_i32x4_s(dot4(x6, w6, none), dot4(x7, w7, none));
    return i32x4.sub(i32x4.add(pairs(p0, p1, low), pairs(p2, p3, high)), zero);
  }
  const s = i16x8.extend_low_i8x16_u(integers);
  const p0 = i16x8.narrow_i32x4_s(dot4(x1, w1, dot4(x0, w0, none)), dot4(x3, w3, dot4(x2, w2, none)));
  const p1 = i16x8.narrow_i32x4_s(dot4(x5, w5, dot4(x4, w4, none)), dot4(x7, w7, dot4(x6, w6, none)));
  return pairs(p0, p1, doubled(half == 0 ? i32x4.extend_low_i16x8_u(s) : i32x4.extend_high_i16x8_u(s)));
}

/** Integers of 16 bits in both halves of words. */
// @ts-ignore: decorator
@inline
function doubled(words: v128): v128 {
  return v128.or(v128.and(words, constant(LOWER_HALF)), i32x4.shl(words, 16));
}

/** Σ of p, the sums of two parts each, times the parts' scales. */
// @ts-ignore: decorator
@inline
function pairs(p0: v128, p1: v128, scales: v128): v128 {
  return i32x4.add(
    i32x4.dot_i16x8_s(p0, v128.shuffle<i32>(scales, scales, 0, 0, 1, 1)), i32x4.dot_i16x8_s(p1, v128.shuffle<i32>(scales, scales, 2, 2, 3, 3)),
  );
}

/** The sums of the lanes of four vectors. */
// @ts-ignore: decorator
@inline
function across(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return i32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}
