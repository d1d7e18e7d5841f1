// Products of several rows with int4 weights in the form PAIRS. A part is 32 inputs, which share a factor m. Products q x
// of a part, with q in -8..7 and x in 1..127, add up to less than 2^15: so they are added in 16 bits, and m multiplies the
// sums on their way to 32.

import { store16 } from '../linear-float';
import { addRow, clearRows, tileRows } from '../linear-int8';
import { BLOCK, HEADER, scaleOf, startOf } from '../quantized';
import { VECTORS } from './form';
import { FACTORS, factorsOf, lower, PART, SIGNS } from './int4-panels';

/** Bytes of a block: header, then for each part the factors of 16 outputs in pairs, and q as bytes as int8 has them. */
export const PARTS_BYTES: usize = HEADER + BLOCK / PART * 64 + 16 * BLOCK;

/** Sums of pairs of products: signed bytes of `a` with bytes 0..127 of `b`. */
// @ts-ignore: decorator
@inline
export function pairsOfParts(sum: v128, a: v128, b: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i16x8.add(sum, i16x8.relaxed_dot_i8x16_i7x16_s(a, b)) : sum;
}

export function spellParts(w: usize, to: usize): void {
  const h0 = v128.load(w), h1 = v128.load(w, 16), h2 = v128.load(w, 32), h3 = v128.load(w, 48);
  store16(to, h0, h1, h2, h3);
  let f0 = v128.load(w, 64), f1 = v128.load(w, 80);
  w += HEADER + FACTORS;
  to += HEADER;
  for (let part = 0; part < BLOCK / PART; part++) {
    store16(to, factorsOf(f0), factorsOf(f1), factorsOf(i32x4.shr_u(f0, 16)), factorsOf(i32x4.shr_u(f1, 16)));
    f0 = i32x4.shr_u(f0, 4);
    f1 = i32x4.shr_u(f1, 4);
    to += 64;
    for (const end = w + 8 * PART; w < end; w += 64) {
      const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
      store16(to, signed(w0), signed(w1), signed(w2), signed(w3));
      store16(
        to + 64, signed(i16x8.shr_u(w0, 4)), signed(i16x8.shr_u(w1, 4)), signed(i16x8.shr_u(w2, 4)), signed(i16x8.shr_u(w3, 4)),
      );
      to += 128;
    }
  }
}

/** The lower half bytes as signed bytes: (q xor 8) - 8. */
// @ts-ignore: decorator
@inline
function signed(bytes: v128): v128 {
  const eights = lower(v128.load32_splat(SIGNS));
  return i8x16.sub(v128.xor(lower(bytes), eights), eights);
}

/** addTiles of ../linear-int8 over blocks of {@link spellParts}. */
export function addPartTiles(
  x: usize, scales: usize, blocks: i32, w: usize, block: i32, count: i32, out: usize, outStride: usize, rows: i32,
): void {
  const scaleStride: usize = blocks << 2;
  if (block == 0) clearRows(out, outStride, rows);
  scales += <usize>block << 2;
  for (let r = 0; r < rows; ) {
    const tile = tileRows(rows - r, 4);
    let from = x + <usize>block * <usize>tile * BLOCK;
    x += <usize>blocks * <usize>tile * BLOCK;
    r += tile;
    if (tile == 1) return oneRow(from, scales, count, w, out);
    for (let i = 0; i < tile; i += 2) {
      twoRows(from, <usize>tile << 2, scales, scaleStride, count, w, out, outStride);
      from += 8;
      scales += scaleStride << 1;
      out += outStride << 1;
    }
  }
}

function twoRows(x: usize, step: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  someRows(2, x, step, scales, scaleStride, blocks, w, out, outStride);
}

function oneRow(x: usize, scales: usize, blocks: i32, w: usize, out: usize): void {
  someRows(1, x, 4, scales, 0, blocks, w, out, 0);
}

/** @param step bytes from four inputs of the rows to the next four. */
// @ts-ignore: decorator
@inline
function someRows(
  rows: i32, x: usize, step: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize,
): void {
  halfRows(rows, x, step, scales, scaleStride, blocks, w, out, outStride);
  if (VECTORS == 2) halfRows(rows, x, step, scales, scaleStride, blocks, w + 32, out + 32, outStride);
}

// @ts-ignore: decorator
@inline
function halfRows(
  rows: i32, x: usize, step: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize,
): void {
  const zero = i32x4.splat(0);
  for (; blocks > 0; blocks--) {
    const header = w;
    w += HEADER;
    let a0 = startOf(v128.load(header)), a1 = startOf(v128.load(header, 16));
    let a2 = VECTORS > 2 ? startOf(v128.load(header, 32)) : zero, a3 = VECTORS > 2 ? startOf(v128.load(header, 48)) : zero;
    let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
    for (let part = 0; part < BLOCK / PART; part++) {
      let p0 = zero, p1 = zero, p2 = zero, p3 = zero, r0 = zero, r1 = zero, r2 = zero, r3 = zero;
      const factors = w;
      w += 64;
      for (const end = w + 16 * PART; w < end; w += 128) {
        const w0 = v128.load(w), w1 = v128.load(w, 16);
        const w2 = VECTORS > 2 ? v128.load(w, 32) : zero, w3 = VECTORS > 2 ? v128.load(w, 48) : zero;
        let v = v128.load32_splat(x);
        p0 = pairsOfParts(p0, w0, v);
        p1 = pairsOfParts(p1, w1, v);
        if (VECTORS > 2) p2 = pairsOfParts(p2, w2, v);
        if (VECTORS > 2) p3 = pairsOfParts(p3, w3, v);
        if (rows > 1) {
          v = v128.load32_splat(x, 4);
          r0 = pairsOfParts(r0, w0, v);
          r1 = pairsOfParts(r1, w1, v);
          if (VECTORS > 2) r2 = pairsOfParts(r2, w2, v);
          if (VECTORS > 2) r3 = pairsOfParts(r3, w3, v);
        }
        x += step;
        const z0 = v128.load(w, 64), z1 = v128.load(w, 80);
        const z2 = VECTORS > 2 ? v128.load(w, 96) : zero, z3 = VECTORS > 2 ? v128.load(w, 112) : zero;
        v = v128.load32_splat(x);
        p0 = pairsOfParts(p0, z0, v);
        p1 = pairsOfParts(p1, z1, v);
        if (VECTORS > 2) p2 = pairsOfParts(p2, z2, v);
        if (VECTORS > 2) p3 = pairsOfParts(p3, z3, v);
        if (rows > 1) {
          v = v128.load32_splat(x, 4);
          r0 = pairsOfParts(r0, z0, v);
          r1 = pairsOfParts(r1, z1, v);
          if (VECTORS > 2) r2 = pairsOfParts(r2, z2, v);
          if (VECTORS > 2) r3 = pairsOfParts(r3, z3, v);
        }
        x += step;
      }
      const m0 = v128.load(factors), m1 = v128.load(factors, 16);
      const m2 = VECTORS > 2 ? v128.load(factors, 32) : zero, m3 = VECTORS > 2 ? v128.load(factors, 48) : zero;
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(p0, m0));
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(p1, m1));
      if (VECTORS > 2) a2 = i32x4.add(a2, i32x4.dot_i16x8_s(p2, m2));
      if (VECTORS > 2) a3 = i32x4.add(a3, i32x4.dot_i16x8_s(p3, m3));
      if (rows > 1) {
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(r0, m0));
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(r1, m1));
        if (VECTORS > 2) b2 = i32x4.add(b2, i32x4.dot_i16x8_s(r2, m2));
        if (VECTORS > 2) b3 = i32x4.add(b3, i32x4.dot_i16x8_s(r3, m3));
      }
    }
    const s0 = scaleOf(v128.load(header)), s1 = scaleOf(v128.load(header, 16));
    const s2 = VECTORS > 2 ? scaleOf(v128.load(header, 32)) : zero, s3 = VECTORS > 2 ? scaleOf(v128.load(header, 48)) : zero;
    addRow(VECTORS, out, scales, s0, s1, s2, s3, a0, a1, a2, a3);
    if (rows > 1) addRow(VECTORS, out + outStride, scales + scaleStride, s0, s1, s2, s3, b0, b1, b2, b3);
    scales += 4;
  }
}
