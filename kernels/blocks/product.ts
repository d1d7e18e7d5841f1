// y = x Wᵀ over panels of weights in the formats of files.
//
// The dot product takes signed bytes and bytes of 7 bits. Codes of up to 6 bits are the latter, and x is signed bytes,
// round(x / s) with s = max|x| / 127; what is taken from the codes (8, 12, 32, zero points, minima) times sums of x tells
// the product. Signed weights are the former: x is bytes of 7 bits as for int8, and what their 64 adds is taken away.
//
// Sums over a part are exact integers. In float32, and in this order whatever the number of rows, a block's parts are added
// one by one to its offset, if it has one, each sum times its scale; the total times the block's factor, if it has one, plus its minima, and times the
// scale of x is added to the result, block after block. So a row has the same bits alone as among a thousand.
//
// One row meets the codes as they are. For more of them a block is spelled out first: codes as bytes, scales as floats.

import { store16 } from '../linear-float';
import { clearRows, FEW_ROWS } from '../linear-int8';
import { madd } from '../math';
import { BLOCK } from '../quantized';
import { sumBytes } from './activations';
import { codesOf, unitBytes, unitInputs } from './codes';
import {
  blockBytes, codesAt, constant, EVEN_BYTES, factorOf, hasFactor, hasMinima, hasZeroPoints, headBytes, isSigned, LOW_BYTE, minimaAt,
  minimumFactorOf, minimumSum, offsetsOf, partInputs, partNumbers, scaleOf, WORDS, wordsAt,
} from './formats';
import { addScaledRow, dotOf, oneRow } from './one-row';

// A spelled-out block has words of 16 outputs each, then bytes.
/** Scales of up to eight parts, as floats. */
const SCALES: usize = 0;
/** Zero points of up to four parts, as integers; or offsets; or minima of parts 0 and 2, and of 1 and 3, and -dmin. */
const EXTRAS: usize = 8 * WORDS;
const FACTOR: usize = EXTRAS + 4 * WORDS;
const BYTES: usize = FACTOR + WORDS;
/** Bytes of a spelled-out block. */
export const SPELLED_BYTES: usize = BYTES + 16 * BLOCK;

/** Results of a row that stands for a missing one. */
const UNUSED = memory.data(64, 16);

/** Arguments as those of linear in index.ts. */
export function linearOf<F>(
  q: usize, scales: usize, sums: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  if (rows == 1) return oneRow<F>(q, scales, sums, w, out, panels, K);
  const blocks = K / BLOCK;
  const atOnce = rows > FEW_ROWS ? blocks : 1;
  for (; panels > 0; panels--) {
    const panel = w;
    w += headBytes<F>();
    for (let block = 0; block < blocks; block += atOnce) {
      for (let i = 0; i < atOnce; i++) {
        spellOut<F>(panel, w, scratch + <usize>i * SPELLED_BYTES);
        w += blockBytes<F>();
      }
      multiply<F>(q, scales, sums, K, block, atOnce, scratch, out, outStride, rows);
    }
    out += 64;
  }
}

// @ts-ignore: decorator
@inline
function spellOut<F>(panel: usize, w: usize, to: usize): void {
  spellNumbers<F>(panel, w, to);
  let codes = w + codesAt<F>();
  let bytes = to + BYTES;
  for (const end = bytes + 16 * BLOCK; bytes < end; bytes += <usize>unitInputs<F>() << 4) {
    spellInputs<F>(codes, 0, bytes);
    spellInputs<F>(codes, 1, bytes + 64);
    spellInputs<F>(codes, 2, bytes + 128);
    spellInputs<F>(codes, 3, bytes + 192);
    if (unitInputs<F>() == 32) {
      spellInputs<F>(codes, 4, bytes + 256);
      spellInputs<F>(codes, 5, bytes + 320);
      spellInputs<F>(codes, 6, bytes + 384);
      spellInputs<F>(codes, 7, bytes + 448);
    }
    codes += unitBytes<F>();
  }
}

// @ts-ignore: decorator
@inline
function spellInputs<F>(codes: usize, i: usize, to: usize): void {
  store16(to, codesOf<F>(codes, i, 0), codesOf<F>(codes, i, 1), codesOf<F>(codes, i, 2), codesOf<F>(codes, i, 3));
}

// @ts-ignore: decorator
@inline
function spellNumbers<F>(panel: usize, w: usize, to: usize): void {
  spellQuarter<F>(panel, w, 0, to);
  spellQuarter<F>(panel, w, 1, to + 16);
  spellQuarter<F>(panel, w, 2, to + 32);
  spellQuarter<F>(panel, w, 3, to + 48);
}

/** The numbers of four outputs. */
// @ts-ignore: decorator
@inline
function spellQuarter<F>(panel: usize, w: usize, v: usize, to: usize): void {
  const parts = <usize>(BLOCK / partInputs<F>());
  if (hasFactor<F>()) v128.store(to, factorOf<F>(panel, w, v), FACTOR);
  if (isSigned<F>()) v128.store(to, offsetsOf<F>(w, v), EXTRAS);
  if (hasMinima<F>()) {
    const minima = wordsAt(minimaAt(w), v);
    v128.store(to, v128.and(minima, constant(EVEN_BYTES)), EXTRAS);
    v128.store(to, v128.and(i32x4.shr_u(minima, 8), constant(EVEN_BYTES)), EXTRAS + WORDS);
    v128.store(to, minimumFactorOf(panel, w, v), EXTRAS + 2 * WORDS);
  }
  for (let part: usize = 0; part < parts; part++) {
    const numbers = partNumbers<F>(w, part, v);
    v128.store(to, scaleOf<F>(panel, numbers, v), SCALES);
    if (hasZeroPoints<F>()) v128.store(to, v128.and(numbers, constant(LOW_BYTE)), EXTRAS);
    to += WORDS;
  }
}

/** Adds the products of rows with so many spelled-out blocks, of which `w` is the first and number `block` of the panel. */
function multiply<F>(
  q: usize, scales: usize, sums: usize, K: i32, block: i32, count: i32, w: usize, out: usize, outStride: usize, rows: i32,
): void {
  const blocks = <usize>(K / BLOCK);
  const scaleStride = blocks << 2, sumStride = blocks * sumBytes<F>();
  q += <usize>block * BLOCK;
  scales += <usize>block << 2;
  sums += <usize>block * sumBytes<F>();
  if (block == 0) clearRows(out, outStride, rows);
  let r = 0;
  for (; r + 2 <= rows; r += 2) {
    twoRows<F>(q, <usize>K, scales, scaleStride, sums, sumStride, count, w, out, outStride);
    q += <usize>K << 1;
    scales += scaleStride << 1;
    sums += sumStride << 1;
    out += outStride << 1;
  }
  if (r == rows) return;
  // The last row alone: it is its own neighbour.
  clearRows(UNUSED, 0, 1);
  twoRows<F>(q, 0, scales, 0, sums, 0, count, w, out, UNUSED - out);
}

/** The strides lead from the first row to the second. */
function twoRows<F>(
  q: usize, K: usize, scales: usize, scaleStride: usize, sums: usize, sumStride: usize, count: i32, w: usize, out: usize,
  outStride: usize,
): void {
  const far = out + outStride;
  for (let block = 0; block < count; block++) {
    const none = f32x4.splat(0);
    let t0 = isSigned<F>() ? v128.load(w, EXTRAS) : none, t1 = isSigned<F>() ? v128.load(w, EXTRAS + 16) : none;
    let t2 = isSigned<F>() ? v128.load(w, EXTRAS + 32) : none, t3 = isSigned<F>() ? v128.load(w, EXTRAS + 48) : none;
    let u0 = t0, u1 = t1, u2 = t2, u3 = t3;
    let zeros = w + EXTRAS;
    let bytes = w + BYTES, scale = w + SCALES, sum = sums;
    const end = q + BLOCK;
    let x = q;
    while (x < end) {
      let v = v128.load32_splat(sum);
      let a0 = startOf<F>(zeros, v), a1 = startOf<F>(zeros + 16, v), a2 = startOf<F>(zeros + 32, v), a3 = startOf<F>(zeros + 48, v);
      v = v128.load32_splat(sum + sumStride);
      let b0 = startOf<F>(zeros, v), b1 = startOf<F>(zeros + 16, v), b2 = startOf<F>(zeros + 32, v), b3 = startOf<F>(zeros + 48, v);
      const partEnd = x + partInputs<F>();
      let y = x + K;
      while (x < partEnd) {
        const w0 = v128.load(bytes), w1 = v128.load(bytes, 16), w2 = v128.load(bytes, 32), w3 = v128.load(bytes, 48);
        v = v128.load32_splat(x);
        a0 = dotOf<F>(w0, v, a0);
        a1 = dotOf<F>(w1, v, a1);
        a2 = dotOf<F>(w2, v, a2);
        a3 = dotOf<F>(w3, v, a3);
        v = v128.load32_splat(y);
        b0 = dotOf<F>(w0, v, b0);
        b1 = dotOf<F>(w1, v, b1);
        b2 = dotOf<F>(w2, v, b2);
        b3 = dotOf<F>(w3, v, b3);
        const z0 = v128.load(bytes, 64), z1 = v128.load(bytes, 80), z2 = v128.load(bytes, 96), z3 = v128.load(bytes, 112);
        v = v128.load32_splat(x, 4);
        a0 = dotOf<F>(z0, v, a0);
        a1 = dotOf<F>(z1, v, a1);
        a2 = dotOf<F>(z2, v, a2);
        a3 = dotOf<F>(z3, v, a3);
        v = v128.load32_splat(y, 4);
        b0 = dotOf<F>(z0, v, b0);
        b1 = dotOf<F>(z1, v, b1);
        b2 = dotOf<F>(z2, v, b2);
        b3 = dotOf<F>(z3, v, b3);
        bytes += 128;
        x += 8;
        y += 8;
      }
      const s0 = v128.load(scale), s1 = v128.load(scale, 16), s2 = v128.load(scale, 32), s3 = v128.load(scale, 48);
      t0 = madd(f32x4.convert_i32x4_s(a0), s0, t0);
      t1 = madd(f32x4.convert_i32x4_s(a1), s1, t1);
      t2 = madd(f32x4.convert_i32x4_s(a2), s2, t2);
      t3 = madd(f32x4.convert_i32x4_s(a3), s3, t3);
      u0 = madd(f32x4.convert_i32x4_s(b0), s0, u0);
      u1 = madd(f32x4.convert_i32x4_s(b1), s1, u1);
      u2 = madd(f32x4.convert_i32x4_s(b2), s2, u2);
      u3 = madd(f32x4.convert_i32x4_s(b3), s3, u3);
      scale += WORDS;
      zeros += WORDS;
      sum += 4;
    }
    if (hasFactor<F>()) {
      t0 = scaled<F>(w, sums, t0);
      t1 = scaled<F>(w + 16, sums, t1);
      t2 = scaled<F>(w + 32, sums, t2);
      t3 = scaled<F>(w + 48, sums, t3);
      u0 = scaled<F>(w, sums + sumStride, u0);
      u1 = scaled<F>(w + 16, sums + sumStride, u1);
      u2 = scaled<F>(w + 32, sums + sumStride, u2);
      u3 = scaled<F>(w + 48, sums + sumStride, u3);
    }
    addScaledRow(out, v128.load32_splat(scales), t0, t1, t2, t3);
    addScaledRow(far, v128.load32_splat(scales + scaleStride), u0, u1, u2, u3);
    q = end;
    w += SPELLED_BYTES;
    scales += 4;
    sums += sumBytes<F>();
  }
}

/** What four outputs' sums over a part start from. `sum` is that of x, times the zero point if all weights have the same. */
// @ts-ignore: decorator
@inline
function startOf<F>(zeros: usize, sum: v128): v128 {
  if (isSigned<F>() || hasMinima<F>()) return i32x4.splat(0);
  return hasZeroPoints<F>() ? i32x4.mul(v128.load(zeros), sum) : sum;
}

/** A block's sum times its factor, and its minima. */
// @ts-ignore: decorator
@inline
function scaled<F>(w: usize, sums: usize, sum: v128): v128 {
  const factor = v128.load(w, FACTOR);
  if (!hasMinima<F>()) return f32x4.mul(sum, factor);
  const even = v128.load32_splat(sums), odd = v128.load32_splat(sums, 4);
  const minimum = minimumSum(v128.load(w, EXTRAS), v128.load(w, EXTRAS + WORDS), even, odd);
  return madd(sum, factor, f32x4.mul(minimum, v128.load(w, EXTRAS + 2 * WORDS)));
}
