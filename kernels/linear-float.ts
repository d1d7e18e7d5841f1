// y = x Wᵀ over float32 and bfloat16 weights.
//
// Weights come in panels of 16 outputs, so that lanes are outputs: a panel holds, for each input k, its 16 weights.
// An output sums over k in ascending order, one product at a time, whatever the number of rows: a row's result has the
// same bits alone as among a thousand.
//
// float32 panels are [panel][k][16]. bfloat16 panels are the same in 32 bytes a k: its two vectors hold outputs 0-3 and
// 4-7 in their low halves, 8-11 and 12-15 in their high halves, so that a shift and a mask make float32 of them.
//
// Several rows meet a panel in tiles of up to six, and in parts of some inputs, which stay in the first cache while all
// tiles pass; sums wait in the result meanwhile. A tile's activations are interleaved: those of its rows for an input lie
// side by side, so that one address leads to all.

import { clearRows, tileRows } from './linear-int8';
import { madd } from './math';
import { VECTORS } from './products/form';

const UPPER_HALF = memory.data<i32>([0xffff0000]);

/** Inputs of a part: 16 KB of a panel as float32. */
const PART: i32 = 256;
/** Rows of the largest tile: twelve sums of 256 bits, two weights and an activation fit sixteen registers. */
const MOST: i32 = 6;

/**
 * x rows of K floats `xStride` bytes apart; out rows `outStride` bytes apart. Scratch, for more than one row: K floats for
 * each.
 */
export function linearF32(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  if (rows == 1) return oneRow(x, w, out, panels, K, false);
  interleave(x, xStride, rows, K, scratch);
  for (; panels > 0; panels--) {
    clearRows(out, outStride, rows);
    for (let begin = 0; begin < K; begin += PART) {
      const count = min(PART, K - begin);
      addTiles(scratch, K, begin, count, w, out, outStride, rows);
      w += <usize>count << 6;
    }
    out += 64;
  }
}

/** Scratch as that of {@link linearF32}, and 16 KB. */
export function linearBF16(
  x: usize, xStride: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, K: i32, scratch: usize,
): void {
  if (rows == 1) return oneRow(x, w, out, panels, K, true);
  const widened = interleave(x, xStride, rows, K, scratch);
  for (; panels > 0; panels--) {
    clearRows(out, outStride, rows);
    for (let begin = 0; begin < K; begin += PART) {
      const count = min(PART, K - begin);
      widen(w, widened, count);
      addTiles(scratch, K, begin, count, widened, out, outStride, rows);
      w += <usize>count << 5;
    }
    out += 64;
  }
}

/** Rows → tiles, from `to` on. Returns the address after them. */
function interleave(x: usize, xStride: usize, rows: i32, K: i32, to: usize): usize {
  for (let r = 0; r < rows; ) {
    const tile = tileRows(rows - r, MOST);
    const step = <usize>tile << 2;
    for (let i = 0; i < tile; i++) {
      let at = to + (<usize>i << 2);
      for (let from = x; from < x + (<usize>K << 2); from += 4) {
        store<f32>(at, load<f32>(from));
        at += step;
      }
      x += xStride;
    }
    to += <usize>K * step;
    r += tile;
  }
  return to;
}

/** Some inputs of a bfloat16 panel → float32. */
function widen(w: usize, to: usize, count: i32): void {
  const high = v128.load32_splat(UPPER_HALF);
  for (const end = w + (<usize>count << 5); w < end; w += 32) {
    const u0 = v128.load(w), u1 = v128.load(w, 16);
    store16(to, i32x4.shl(u0, 16), i32x4.shl(u1, 16), v128.and(u0, high), v128.and(u1, high));
    to += 64;
  }
}

/** Adds the products of all tiles with `count` inputs of a panel, from `begin` on. */
function addTiles(x: usize, K: i32, begin: i32, count: i32, w: usize, out: usize, outStride: usize, rows: i32): void {
  for (let r = 0; r < rows; ) {
    const tile = tileRows(rows - r, MOST);
    const from = x + <usize>begin * (<usize>tile << 2);
    if (tile == 6) tile6(from, w, out, outStride, count);
    else if (tile == 4) tile4(from, w, out, outStride, count);
    else if (tile == 2) tile2(from, w, out, outStride, count);
    else tile1(from, w, out, outStride, count);
    x += <usize>K * (<usize>tile << 2);
    out += outStride * tile;
    r += tile;
  }
}

function tile6(x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  floatTile(VECTORS, 6, x, w, out, outStride, count);
}

function tile4(x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  floatTile(VECTORS, 4, x, w, out, outStride, count);
}

function tile2(x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  floatTile(VECTORS, 2, x, w, out, outStride, count);
}

function tile1(x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  floatTile(VECTORS, 1, x, w, out, outStride, count);
}

/** Adds the products of a tile's rows with `count` inputs. */
// @ts-ignore: decorator
@inline
export function floatTile(vectors: i32, rows: i32, x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  halfTile(vectors, rows, x, w, out, outStride, count);
  if (vectors == 2) halfTile(vectors, rows, x, w + 32, out + 32, outStride, count);
}

// @ts-ignore: decorator
@inline
function halfTile(vectors: i32, rows: i32, x: usize, w: usize, out: usize, outStride: usize, count: i32): void {
  const zero = f32x4.splat(0);
  const out1 = out + outStride, out2 = out1 + outStride, out3 = out2 + outStride, out4 = out3 + outStride, out5 = out4 + outStride;
  let a00 = v128.load(out), a01 = v128.load(out, 16);
  let a02 = vectors > 2 ? v128.load(out, 32) : zero, a03 = vectors > 2 ? v128.load(out, 48) : zero;
  let a10 = rows > 1 ? v128.load(out1) : zero, a11 = rows > 1 ? v128.load(out1, 16) : zero;
  let a12 = vectors > 2 && rows > 1 ? v128.load(out1, 32) : zero, a13 = vectors > 2 && rows > 1 ? v128.load(out1, 48) : zero;
  let a20 = rows > 2 ? v128.load(out2) : zero, a21 = rows > 2 ? v128.load(out2, 16) : zero;
  let a22 = vectors > 2 && rows > 2 ? v128.load(out2, 32) : zero, a23 = vectors > 2 && rows > 2 ? v128.load(out2, 48) : zero;
  let a30 = rows > 2 ? v128.load(out3) : zero, a31 = rows > 2 ? v128.load(out3, 16) : zero;
  let a32 = vectors > 2 && rows > 2 ? v128.load(out3, 32) : zero, a33 = vectors > 2 && rows > 2 ? v128.load(out3, 48) : zero;
  let a40 = rows > 4 ? v128.load(out4) : zero, a41 = rows > 4 ? v128.load(out4, 16) : zero;
  let a42 = vectors > 2 && rows > 4 ? v128.load(out4, 32) : zero, a43 = vectors > 2 && rows > 4 ? v128.load(out4, 48) : zero;
  let a50 = rows > 4 ? v128.load(out5) : zero, a51 = rows > 4 ? v128.load(out5, 16) : zero;
  let a52 = vectors > 2 && rows > 4 ? v128.load(out5, 32) : zero, a53 = vectors > 2 && rows > 4 ? v128.load(out5, 48) : zero;
  const end = x + <usize>count * (<usize>rows << 2);
  while (x < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16);
    const w2 = vectors > 2 ? v128.load(w, 32) : zero, w3 = vectors > 2 ? v128.load(w, 48) : zero;
    const x0 = v128.load32_splat(x);
    a00 = madd(w0, x0, a00);
    a01 = madd(w1, x0, a01);
    if (vectors > 2) a02 = madd(w2, x0, a02);
    if (vectors > 2) a03 = madd(w3, x0, a03);
    if (rows > 1) {
      const x1 = v128.load32_splat(x, 4);
      a10 = madd(w0, x1, a10);
      a11 = madd(w1, x1, a11);
      if (vectors > 2) a12 = madd(w2, x1, a12);
      if (vectors > 2) a13 = madd(w3, x1, a13);
    }
    if (rows > 2) {
      const x2 = v128.load32_splat(x, 8), x3 = v128.load32_splat(x, 12);
      a20 = madd(w0, x2, a20);
      a21 = madd(w1, x2, a21);
      if (vectors > 2) a22 = madd(w2, x2, a22);
      if (vectors > 2) a23 = madd(w3, x2, a23);
      a30 = madd(w0, x3, a30);
      a31 = madd(w1, x3, a31);
      if (vectors > 2) a32 = madd(w2, x3, a32);
      if (vectors > 2) a33 = madd(w3, x3, a33);
    }
    if (rows > 4) {
      const x4 = v128.load32_splat(x, 16), x5 = v128.load32_splat(x, 20);
      a40 = madd(w0, x4, a40);
      a41 = madd(w1, x4, a41);
      if (vectors > 2) a42 = madd(w2, x4, a42);
      if (vectors > 2) a43 = madd(w3, x4, a43);
      a50 = madd(w0, x5, a50);
      a51 = madd(w1, x5, a51);
      if (vectors > 2) a52 = madd(w2, x5, a52);
      if (vectors > 2) a53 = madd(w3, x5, a53);
    }
    w += 64;
    x += <usize>rows << 2;
  }
  storeSums(vectors, out, a00, a01, a02, a03);
  if (rows > 1) storeSums(vectors, out1, a10, a11, a12, a13);
  if (rows > 2) storeSums(vectors, out2, a20, a21, a22, a23);
  if (rows > 2) storeSums(vectors, out3, a30, a31, a32, a33);
  if (rows > 4) storeSums(vectors, out4, a40, a41, a42, a43);
  if (rows > 4) storeSums(vectors, out5, a50, a51, a52, a53);
}

// @ts-ignore: decorator
@inline
function storeSums(vectors: i32, out: usize, a: v128, b: v128, c: v128, d: v128): void {
  if (vectors > 2) return store16(out, a, b, c, d);
  v128.store(out, a);
  v128.store(out, b, 16);
}

function oneRow(x: usize, w: usize, out: usize, panels: i32, K: i32, bf16: bool): void {
  const panelBytes: usize = K << (bf16 ? 5 : 6);
  const half = panels >> 1;
  const far = <usize>half * panelBytes, farOut = <usize>half << 6;
  for (let i = 0; i < half; i++) {
    if (bf16) pairBF16(x, w, w + far, out, out + farOut, K);
    else pairF32(x, w, w + far, out, out + farOut, K);
    w += panelBytes;
    out += 64;
  }
  if (!(panels & 1)) return;
  // The last panel alone, twice.
  if (bf16) pairBF16(x, w + far, w + far, out + farOut, out + farOut, K);
  else pairF32(x, w + far, w + far, out + farOut, out + farOut, K);
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
