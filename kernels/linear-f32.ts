// y = x Wᵀ over float32 and bfloat16 weights.
//
// Weights come in panels of 16 outputs, so that lanes are outputs: a panel holds, for each input k, its 16 weights.
// An output sums over k in ascending order, one product at a time, whatever the number of rows: a row's result has the
// same bits alone as among a thousand.

import { madd } from './math';

const UPPER_HALF = memory.data<i32>([0xffff0000]);

/** float32 panels: [panel][k][16]. x rows of K floats `xStride` bytes apart; out rows `outStride` bytes apart. */
export function linearF32(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32,
): void {
  const panelBytes: usize = K << 6;
  if (rows == 1) {
    const half = panels >> 1;
    const far = <usize>half * panelBytes;
    for (let i = 0; i < half; i++) {
      pairF32(x, w, w + far, out, out + (<usize>half << 6), K);
      w += panelBytes;
      out += 64;
    }
    w += far;
    out += <usize>half << 6;
    panels &= 1;
  }
  for (; panels > 0; panels--) {
    panelF32(x, xStride, w, out, outStride, rows, K);
    w += panelBytes;
    out += 64;
  }
}

/**
 * bfloat16 panels: [panel][k][16] in 32 bytes. The two vectors of a k hold outputs 0-3 and 4-7 in their low halves, 8-11
 * and 12-15 in their high halves. With several rows a panel is widened into `scratch` (K * 64 bytes).
 */
export function linearBF16(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  const panelBytes: usize = K << 5;
  if (rows == 1) {
    const half = panels >> 1;
    const far = <usize>half * panelBytes;
    for (let i = 0; i < half; i++) {
      pairBF16(x, w, w + far, out, out + (<usize>half << 6), K);
      w += panelBytes;
      out += 64;
    }
    w += far;
    out += <usize>half << 6;
    panels &= 1;
  }
  for (; panels > 0; panels--) {
    widenBF16(w, scratch, K);
    panelF32(x, xStride, scratch, out, outStride, rows, K);
    w += panelBytes;
    out += 64;
  }
}

function panelF32(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, K: i32): void {
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    tile4F32(x, xStride, w, out, outStride, K);
    x += xStride << 2;
    out += outStride << 2;
  }
  for (; r < rows; r++) {
    rowF32(x, w, out, K);
    x += xStride;
    out += outStride;
  }
}

function tile4F32(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, K: i32): void {
  const zero = f32x4.splat(0);
  let a00 = zero, a01 = zero, a02 = zero, a03 = zero;
  let a10 = zero, a11 = zero, a12 = zero, a13 = zero;
  let a20 = zero, a21 = zero, a22 = zero, a23 = zero;
  let a30 = zero, a31 = zero, a32 = zero, a33 = zero;
  let x0 = x, x1 = x0 + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
  const end = x0 + (<usize>K << 2);
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
  store16(out, a00, a01, a02, a03);
  store16(out + outStride, a10, a11, a12, a13);
  store16(out + (outStride << 1), a20, a21, a22, a23);
  store16(out + outStride * 3, a30, a31, a32, a33);
}

function rowF32(x: usize, w: usize, out: usize, K: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    a0 = madd(v128.load(w), v, a0);
    a1 = madd(v128.load(w, 16), v, a1);
    a2 = madd(v128.load(w, 32), v, a2);
    a3 = madd(v128.load(w, 48), v, a3);
    w += 64;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
}

/**
 * One row and two panels, from both halves of the matrix: a sum waits for the one before it, and eight sums keep the
 * units busy meanwhile; memory gives more to two readers that are far apart than to one.
 */
function pairF32(x: usize, w: usize, u: usize, out: usize, farOut: usize, K: i32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    a0 = madd(v128.load(w), v, a0);
    a1 = madd(v128.load(w, 16), v, a1);
    a2 = madd(v128.load(w, 32), v, a2);
    a3 = madd(v128.load(w, 48), v, a3);
    b0 = madd(v128.load(u), v, b0);
    b1 = madd(v128.load(u, 16), v, b1);
    b2 = madd(v128.load(u, 32), v, b2);
    b3 = madd(v128.load(u, 48), v, b3);
    w += 64;
    u += 64;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
  store16(farOut, b0, b1, b2, b3);
}

function pairBF16(x: usize, w: usize, u: usize, out: usize, farOut: usize, K: i32): void {
  const high = v128.load32_splat(UPPER_HALF);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    const w0 = v128.load(w), w1 = v128.load(w, 16), u0 = v128.load(u), u1 = v128.load(u, 16);
    a0 = madd(i32x4.shl(w0, 16), v, a0);
    a1 = madd(i32x4.shl(w1, 16), v, a1);
    a2 = madd(v128.and(w0, high), v, a2);
    a3 = madd(v128.and(w1, high), v, a3);
    b0 = madd(i32x4.shl(u0, 16), v, b0);
    b1 = madd(i32x4.shl(u1, 16), v, b1);
    b2 = madd(v128.and(u0, high), v, b2);
    b3 = madd(v128.and(u1, high), v, b3);
    w += 32;
    u += 32;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
  store16(farOut, b0, b1, b2, b3);
}

function widenBF16(w: usize, out: usize, K: i32): void {
  const high = v128.load32_splat(UPPER_HALF);
  const end = w + (<usize>K << 5);
  while (w < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16);
    store16(out, i32x4.shl(w0, 16), i32x4.shl(w1, 16), v128.and(w0, high), v128.and(w1, high));
    w += 32;
    out += 64;
  }
}

// @ts-ignore: decorator
@inline
export function store16(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(out, a);
  v128.store(out, b, 16);
  v128.store(out, c, 32);
  v128.store(out, d, 48);
}
