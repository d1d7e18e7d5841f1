// y = x Wᵀ over weights of 8 bits, E4M3, with a float32 scale for every 128 inputs of an output. Activations stay float32.
//
// Panels of 16 outputs as in linear-int8.ts: per block of 128 inputs 16 scales, then per 4 inputs 16 words, the four
// codes of an output each. A vector of words gives four outputs' codes of one input after the other by shifts.
//
// An output sums the products of a block in ascending order, then adds the sum times the scale to those of the blocks
// before. That order does not depend on the number of rows: a row's result has the same bits alone as among a thousand.

import { e4m3s } from './e4m3';
import { madd } from './math';
import { store16 } from './linear-float';
import { BLOCK, fetchNextPage, HEADER } from './quantized';
import { clearRows } from './linear-int8';

/** Bytes of one block of a panel. */
export const BLOCK_BYTES: usize = HEADER + 16 * BLOCK;

/** Bytes of a block whose codes are float32: see {@link linearF8}. */
const UNPACKED_BYTES: usize = 4 * 16 * BLOCK;

/**
 * x rows of K floats `xStride` bytes apart, K a multiple of the block; out rows `outStride` bytes apart. `unpacked`: memory
 * for a block of a panel as float32, which several rows share.
 */
export function linearF8(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, unpacked: usize,
): void {
  const blocks = K / BLOCK;
  // To unpack codes for two rows costs more than to widen them twice.
  if (rows <= 2) {
    for (let r = 0; r < rows; r++) {
      oneRow(x, w, out, panels, blocks);
      x += xStride;
      out += outStride;
    }
    return;
  }
  for (; panels > 0; panels--) {
    clearRows(out, outStride, rows);
    let xs = x;
    for (let block = 0; block < blocks; block++) {
      fetchNextPage(w, BLOCK_BYTES);
      unpack(w + HEADER, unpacked);
      addBlock(xs, xStride, unpacked, w, out, outStride, rows);
      xs += 4 * BLOCK;
      w += BLOCK_BYTES;
    }
    out += 64;
  }
}

function oneRow(x: usize, w: usize, out: usize, panels: i32, blocks: i32): void {
  const half = panels >> 1;
  const panelBytes: usize = BLOCK_BYTES * blocks;
  const far = <usize>half * panelBytes;
  const farOut = <usize>half << 6;
  for (let i = 0; i < half; i++) {
    pair(x, w, w + far, out, out + farOut, blocks);
    w += panelBytes;
    out += 64;
  }
  // The last panel alone, twice.
  if (panels & 1) pair(x, w + far, w + far, out + farOut, out + farOut, blocks);
}

/** One row and two panels, from both halves of the matrix: see linear-float.ts. */
function pair(x: usize, w: usize, u: usize, out: usize, farOut: usize, blocks: i32): void {
  const zero = f32x4.splat(0);
  let t0 = zero, t1 = zero, t2 = zero, t3 = zero, s0 = zero, s1 = zero, s2 = zero, s3 = zero;
  for (; blocks > 0; blocks--) {
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    const scales = w, farScales = u;
    w += HEADER;
    u += HEADER;
    const end = x + 4 * BLOCK;
    while (x < end) {
      const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
      const u0 = v128.load(u), u1 = v128.load(u, 16), u2 = v128.load(u, 32), u3 = v128.load(u, 48);
      let v = v128.load32_splat(x);
      a0 = madd(e4m3s(i32x4.shl(w0, 24)), v, a0);
      a1 = madd(e4m3s(i32x4.shl(w1, 24)), v, a1);
      a2 = madd(e4m3s(i32x4.shl(w2, 24)), v, a2);
      a3 = madd(e4m3s(i32x4.shl(w3, 24)), v, a3);
      b0 = madd(e4m3s(i32x4.shl(u0, 24)), v, b0);
      b1 = madd(e4m3s(i32x4.shl(u1, 24)), v, b1);
      b2 = madd(e4m3s(i32x4.shl(u2, 24)), v, b2);
      b3 = madd(e4m3s(i32x4.shl(u3, 24)), v, b3);
      v = v128.load32_splat(x, 4);
      a0 = madd(e4m3s(i32x4.shl(w0, 16)), v, a0);
      a1 = madd(e4m3s(i32x4.shl(w1, 16)), v, a1);
      a2 = madd(e4m3s(i32x4.shl(w2, 16)), v, a2);
      a3 = madd(e4m3s(i32x4.shl(w3, 16)), v, a3);
      b0 = madd(e4m3s(i32x4.shl(u0, 16)), v, b0);
      b1 = madd(e4m3s(i32x4.shl(u1, 16)), v, b1);
      b2 = madd(e4m3s(i32x4.shl(u2, 16)), v, b2);
      b3 = madd(e4m3s(i32x4.shl(u3, 16)), v, b3);
      v = v128.load32_splat(x, 8);
      a0 = madd(e4m3s(i32x4.shl(w0, 8)), v, a0);
      a1 = madd(e4m3s(i32x4.shl(w1, 8)), v, a1);
      a2 = madd(e4m3s(i32x4.shl(w2, 8)), v, a2);
      a3 = madd(e4m3s(i32x4.shl(w3, 8)), v, a3);
      b0 = madd(e4m3s(i32x4.shl(u0, 8)), v, b0);
      b1 = madd(e4m3s(i32x4.shl(u1, 8)), v, b1);
      b2 = madd(e4m3s(i32x4.shl(u2, 8)), v, b2);
      b3 = madd(e4m3s(i32x4.shl(u3, 8)), v, b3);
      v = v128.load32_splat(x, 12);
      a0 = madd(e4m3s(w0), v, a0);
      a1 = madd(e4m3s(w1), v, a1);
      a2 = madd(e4m3s(w2), v, a2);
      a3 = madd(e4m3s(w3), v, a3);
      b0 = madd(e4m3s(u0), v, b0);
      b1 = madd(e4m3s(u1), v, b1);
      b2 = madd(e4m3s(u2), v, b2);
      b3 = madd(e4m3s(u3), v, b3);
      w += 64;
      u += 64;
      x += 16;
    }
    t0 = madd(a0, v128.load(scales), t0);
    t1 = madd(a1, v128.load(scales, 16), t1);
    t2 = madd(a2, v128.load(scales, 32), t2);
    t3 = madd(a3, v128.load(scales, 48), t3);
    s0 = madd(b0, v128.load(farScales), s0);
    s1 = madd(b1, v128.load(farScales, 16), s1);
    s2 = madd(b2, v128.load(farScales, 32), s2);
    s3 = madd(b3, v128.load(farScales, 48), s3);
  }
  store16(out, t0, t1, t2, t3);
  store16(farOut, s0, s1, s2, s3);
}

/** Codes of a block → float32, [input][16 outputs]. */
function unpack(w: usize, to: usize): void {
  const end = to + UNPACKED_BYTES;
  while (to < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    store16(to, e4m3s(i32x4.shl(w0, 24)), e4m3s(i32x4.shl(w1, 24)), e4m3s(i32x4.shl(w2, 24)), e4m3s(i32x4.shl(w3, 24)));
    store16(
      to + 64, e4m3s(i32x4.shl(w0, 16)), e4m3s(i32x4.shl(w1, 16)), e4m3s(i32x4.shl(w2, 16)), e4m3s(i32x4.shl(w3, 16)),
    );
    store16(to + 128, e4m3s(i32x4.shl(w0, 8)), e4m3s(i32x4.shl(w1, 8)), e4m3s(i32x4.shl(w2, 8)), e4m3s(i32x4.shl(w3, 8)));
    store16(to + 192, e4m3s(w0), e4m3s(w1), e4m3s(w2), e4m3s(w3));
    w += 64;
    to += 256;
  }
}

/** Adds the products of rows with an unpacked block to their sums. */
function addBlock(x: usize, xStride: usize, w: usize, scales: usize, out: usize, outStride: usize, rows: i32): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    add4(x, xStride, w, scales, out, outStride);
    x += xStride << 2;
    out += outStride << 2;
  }
  for (; r < rows; r++) {
    add1(x, w, scales, out);
    x += xStride;
    out += outStride;
  }
}

function add4(x: usize, xStride: usize, w: usize, scales: usize, out: usize, outStride: usize): void {
  const zero = f32x4.splat(0);
  let a00 = zero, a01 = zero, a02 = zero, a03 = zero;
  let a10 = zero, a11 = zero, a12 = zero, a13 = zero;
  let a20 = zero, a21 = zero, a22 = zero, a23 = zero;
  let a30 = zero, a31 = zero, a32 = zero, a33 = zero;
  let x0 = x, x1 = x0 + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
  const end = x0 + 4 * BLOCK;
  while (x0 < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    let v = v128.load32_splat(x0);
    a00 = madd(w0, v, a00);
    a01 = madd(w1, v, a01);
    a02 = madd(w2, v, a02);
    a03 = madd(w3, v, a03);
    v = v128.load32_splat(x1);
    a10 = madd(w0, v, a10);
    a11 = madd(w1, v, a11);
    a12 = madd(w2, v, a12);
    a13 = madd(w3, v, a13);
    v = v128.load32_splat(x2);
    a20 = madd(w0, v, a20);
    a21 = madd(w1, v, a21);
    a22 = madd(w2, v, a22);
    a23 = madd(w3, v, a23);
    v = v128.load32_splat(x3);
    a30 = madd(w0, v, a30);
    a31 = madd(w1, v, a31);
    a32 = madd(w2, v, a32);
    a33 = madd(w3, v, a33);
    w += 64;
    x0 += 4;
    x1 += 4;
    x2 += 4;
    x3 += 4;
  }
  addScaled16(out, scales, a00, a01, a02, a03);
  addScaled16(out + outStride, scales, a10, a11, a12, a13);
  addScaled16(out + (outStride << 1), scales, a20, a21, a22, a23);
  addScaled16(out + outStride * 3, scales, a30, a31, a32, a33);
}

function add1(x: usize, w: usize, scales: usize, out: usize): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = x + 4 * BLOCK;
  while (x < end) {
    const v = v128.load32_splat(x);
    a0 = madd(v128.load(w), v, a0);
    a1 = madd(v128.load(w, 16), v, a1);
    a2 = madd(v128.load(w, 32), v, a2);
    a3 = madd(v128.load(w, 48), v, a3);
    w += 64;
    x += 4;
  }
  addScaled16(out, scales, a0, a1, a2, a3);
}

// @ts-ignore: decorator
@inline
function addScaled16(out: usize, scales: usize, a: v128, b: v128, c: v128, d: v128): void {
  store16(
    out,
    madd(a, v128.load(scales), v128.load(out)),
    madd(b, v128.load(scales, 16), v128.load(out, 16)),
    madd(c, v128.load(scales, 32), v128.load(out, 32)),
    madd(d, v128.load(scales, 48), v128.load(out, 48)),
  );
}

/** `count` rows of blocks as a file's reader gives them, a scale and 128 codes each → panels, from row `firstRow` on. */
export function packF8(blocks: usize, count: i32, K: i32, w: usize, firstRow: i32): void {
  const perRow = K / BLOCK;
  for (let row = firstRow; row < firstRow + count; row++) {
    let to = w + <usize>(row >> 4) * (BLOCK_BYTES * perRow) + (<usize>(row & 15) << 2);
    for (let block = 0; block < perRow; block++) {
      store<u32>(to, load<u32>(blocks));
      for (let i: usize = 0; i < <usize>BLOCK / 4; i++) store<u32>(to + HEADER + (i << 6), load<u32>(blocks + 4 + (i << 2)));
      blocks += 4 + BLOCK;
      to += BLOCK_BYTES;
    }
  }
}

/** A row of a matrix in panels → K floats. */
export function unpackF8(w: usize, row: i32, K: i32, out: usize): void {
  const perRow = K / BLOCK;
  let from = w + <usize>(row >> 4) * (BLOCK_BYTES * perRow) + (<usize>(row & 15) << 2);
  for (let block = 0; block < perRow; block++) {
    const scale = v128.load32_splat(from);
    for (let i: usize = 0; i < <usize>BLOCK / 4; i++) {
      // The four codes of a word into lanes of their own.
      const words = i32x4.splat(load<i32>(from + HEADER + (i << 6)));
      const upper = i8x16.shuffle(words, words, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
      v128.store(out + (i << 4), f32x4.mul(e4m3s(upper), scale));
    }
    out += 4 * BLOCK;
    from += BLOCK_BYTES;
  }
}
