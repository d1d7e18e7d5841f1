// y = x Wᵀ over float32 and bfloat16 weights.
//
// Weights come in panels of 16 outputs, so that lanes are outputs: a panel holds, for each input k, its 16 weights.
// An output sums over k in ascending order, one product at a time, whatever the number of rows: a row's result has the
// same bits alone as among a thousand.
//
// float32 panels are [panel][k][16]. bfloat16 panels are the same in 32 bytes a k: its two vectors hold outputs 0-3 and
// 4-7 in their low halves, 8-11 and 12-15 in their high halves, so that a shift and a mask make float32 of them.

import { madd } from './math';

const UPPER_HALF = memory.data<i32>([0xffff0000]);

/** x rows of K floats `xStride` bytes apart; out rows `outStride` bytes apart. */
export function linearF32(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32,
): void {
  linear(x, xStride, w, out, outStride, rows, panels, K, false);
}

export function linearBF16(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32,
): void {
  linear(x, xStride, w, out, outStride, rows, panels, K, true);
}

// @ts-ignore: decorator
@inline
function linear(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, bf16: bool,
): void {
  const panelBytes: usize = K << (bf16 ? 5 : 6);
  if (rows == 1) {
    const half = panels >> 1;
    const far = <usize>half * panelBytes;
    for (let i = 0; i < half; i++) {
      if (bf16) pairBF16(x, w, w + far, out, out + (<usize>half << 6), K);
      else pairF32(x, w, w + far, out, out + (<usize>half << 6), K);
      w += panelBytes;
      out += 64;
    }
    w += far;
    out += <usize>half << 6;
    panels &= 1;
  }
  for (; panels > 0; panels--) {
    let xs = x, to = out;
    let r = 0;
    for (; r + 4 <= rows; r += 4) {
      if (bf16) tile4BF16(xs, xStride, w, to, outStride, K);
      else tile4F32(xs, xStride, w, to, outStride, K);
      xs += xStride << 2;
      to += outStride << 2;
    }
    for (; r < rows; r++) {
      if (bf16) tile1BF16(xs, w, to, K);
      else tile1F32(xs, w, to, K);
      xs += xStride;
      to += outStride;
    }
    w += panelBytes;
    out += 64;
  }
}

function tile4F32(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, K: i32): void {
  tile4(x, xStride, w, out, outStride, K, false);
}

function tile4BF16(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, K: i32): void {
  tile4(x, xStride, w, out, outStride, K, true);
}

// @ts-ignore: decorator
@inline
function tile4(x: usize, xStride: usize, w: usize, out: usize, outStride: usize, K: i32, bf16: bool): void {
  const high = v128.load32_splat(UPPER_HALF);
  const zero = f32x4.splat(0);
  let a00 = zero, a01 = zero, a02 = zero, a03 = zero;
  let a10 = zero, a11 = zero, a12 = zero, a13 = zero;
  let a20 = zero, a21 = zero, a22 = zero, a23 = zero;
  let a30 = zero, a31 = zero, a32 = zero, a33 = zero;
  let x0 = x, x1 = x0 + xStride, x2 = x1 + xStride, x3 = x2 + xStride;
  const end = x0 + (<usize>(K & ~1) << 2);
  // Two inputs a turn: half as many steps of pointers.
  while (x0 < end) {
    const u0 = v128.load(w), u1 = v128.load(w, 16);
    const w0 = bf16 ? i32x4.shl(u0, 16) : u0, w1 = bf16 ? i32x4.shl(u1, 16) : u1;
    const w2 = bf16 ? v128.and(u0, high) : v128.load(w, 32), w3 = bf16 ? v128.and(u1, high) : v128.load(w, 48);
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
    const t0 = bf16 ? v128.load(w, 32) : v128.load(w, 64), t1 = bf16 ? v128.load(w, 48) : v128.load(w, 80);
    const y0 = bf16 ? i32x4.shl(t0, 16) : t0, y1 = bf16 ? i32x4.shl(t1, 16) : t1;
    const y2 = bf16 ? v128.and(t0, high) : v128.load(w, 96), y3 = bf16 ? v128.and(t1, high) : v128.load(w, 112);
    v = v128.load32_splat(x0, 4);
    a00 = madd(y0, v, a00);
    a01 = madd(y1, v, a01);
    a02 = madd(y2, v, a02);
    a03 = madd(y3, v, a03);
    v = v128.load32_splat(x1, 4);
    a10 = madd(y0, v, a10);
    a11 = madd(y1, v, a11);
    a12 = madd(y2, v, a12);
    a13 = madd(y3, v, a13);
    v = v128.load32_splat(x2, 4);
    a20 = madd(y0, v, a20);
    a21 = madd(y1, v, a21);
    a22 = madd(y2, v, a22);
    a23 = madd(y3, v, a23);
    v = v128.load32_splat(x3, 4);
    a30 = madd(y0, v, a30);
    a31 = madd(y1, v, a31);
    a32 = madd(y2, v, a32);
    a33 = madd(y3, v, a33);
    w += bf16 ? 64 : 128;
    x0 += 8;
    x1 += 8;
    x2 += 8;
    x3 += 8;
  }
  store16(out, a00, a01, a02, a03);
  store16(out + outStride, a10, a11, a12, a13);
  store16(out + (outStride << 1), a20, a21, a22, a23);
  store16(out + outStride * 3, a30, a31, a32, a33);
  if (K & 1) {
    addInput(x0, w, out, bf16);
    addInput(x1, w, out + outStride, bf16);
    addInput(x2, w, out + (outStride << 1), bf16);
    addInput(x3, w, out + outStride * 3, bf16);
  }
}

/** Adds the product of one input to a row of sums. */
function addInput(x: usize, w: usize, out: usize, bf16: bool): void {
  const high = v128.load32_splat(UPPER_HALF);
  const v = v128.load32_splat(x);
  const u0 = v128.load(w), u1 = v128.load(w, 16);
  const w2 = bf16 ? v128.and(u0, high) : v128.load(w, 32), w3 = bf16 ? v128.and(u1, high) : v128.load(w, 48);
  store16(
    out,
    madd(bf16 ? i32x4.shl(u0, 16) : u0, v, v128.load(out)),
    madd(bf16 ? i32x4.shl(u1, 16) : u1, v, v128.load(out, 16)),
    madd(w2, v, v128.load(out, 32)),
    madd(w3, v, v128.load(out, 48)),
  );
}

function tile1F32(x: usize, w: usize, out: usize, K: i32): void {
  tile1(x, w, out, K, false);
}

function tile1BF16(x: usize, w: usize, out: usize, K: i32): void {
  tile1(x, w, out, K, true);
}

// @ts-ignore: decorator
@inline
function tile1(x: usize, w: usize, out: usize, K: i32, bf16: bool): void {
  const high = v128.load32_splat(UPPER_HALF);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    const u0 = v128.load(w), u1 = v128.load(w, 16);
    a0 = madd(bf16 ? i32x4.shl(u0, 16) : u0, v, a0);
    a1 = madd(bf16 ? i32x4.shl(u1, 16) : u1, v, a1);
    a2 = madd(bf16 ? v128.and(u0, high) : v128.load(w, 32), v, a2);
    a3 = madd(bf16 ? v128.and(u1, high) : v128.load(w, 48), v, a3);
    w += bf16 ? 32 : 64;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
}

function pairF32(x: usize, w: usize, u: usize, out: usize, farOut: usize, K: i32): void {
  pair(x, w, u, out, farOut, K, false);
}

function pairBF16(x: usize, w: usize, u: usize, out: usize, farOut: usize, K: i32): void {
  pair(x, w, u, out, farOut, K, true);
}

/**
 * One row and two panels, from both halves of the matrix: a sum waits for the one before it, and eight sums keep the
 * units busy meanwhile; memory gives more to two readers that are far apart than to one.
 */
// @ts-ignore: decorator
@inline
function pair(x: usize, w: usize, u: usize, out: usize, farOut: usize, K: i32, bf16: bool): void {
  const high = v128.load32_splat(UPPER_HALF);
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const end = x + (<usize>K << 2);
  while (x < end) {
    const v = v128.load32_splat(x);
    const w0 = v128.load(w), w1 = v128.load(w, 16), u0 = v128.load(u), u1 = v128.load(u, 16);
    a0 = madd(bf16 ? i32x4.shl(w0, 16) : w0, v, a0);
    a1 = madd(bf16 ? i32x4.shl(w1, 16) : w1, v, a1);
    a2 = madd(bf16 ? v128.and(w0, high) : v128.load(w, 32), v, a2);
    a3 = madd(bf16 ? v128.and(w1, high) : v128.load(w, 48), v, a3);
    b0 = madd(bf16 ? i32x4.shl(u0, 16) : u0, v, b0);
    b1 = madd(bf16 ? i32x4.shl(u1, 16) : u1, v, b1);
    b2 = madd(bf16 ? v128.and(u0, high) : v128.load(u, 32), v, b2);
    b3 = madd(bf16 ? v128.and(u1, high) : v128.load(u, 48), v, b3);
    w += bf16 ? 32 : 64;
    u += bf16 ? 32 : 64;
    x += 4;
  }
  store16(out, a0, a1, a2, a3);
  store16(farOut, b0, b1, b2, b3);
}

// @ts-ignore: decorator
@inline
export function store16(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(out, a);
  v128.store(out, b, 16);
  v128.store(out, c, 32);
  v128.store(out, d, 48);
}
