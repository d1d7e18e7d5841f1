// y = x Wᵀ over int8 weights. See quantized.ts for how.

import { store16 } from './linear-float';
import { addScaled, BLOCK, dot4, HEADER, scaleOf, startOf } from './quantized';

/** Bytes of one block of a panel: the header, then per 4 inputs 16 outputs * 4 bytes. */
export const BLOCK_BYTES: usize = HEADER + 16 * BLOCK;

/** q, scales from {@link quantizeRows}; Kpad is a multiple of the block. */
export function linearInt8(
  q: usize, scales: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, Kpad: i32,
): void {
  const blocks = Kpad / BLOCK;
  const panelBytes: usize = BLOCK_BYTES * blocks;
  if (rows == 1) {
    const half = panels >> 1;
    const far = <usize>half * panelBytes;
    for (let i = 0; i < half; i++) {
      pair(q, scales, blocks, w, w + far, out, out + (<usize>half << 6));
      w += panelBytes;
      out += 64;
    }
    w += far;
    out += <usize>half << 6;
    panels &= 1;
  }
  for (let panel = 0; panel < panels; panel++) {
    panelInt8(q, scales, w, out, outStride, rows, Kpad);
    w += panelBytes;
    out += 64;
  }
}

/** Rows whose sums of a panel fit the first cache together with a block of the panel and the rows' part of it. */
export const FEW_ROWS: i32 = 32;

/**
 * One panel of int8 weights. A few rows pass block by block: while all of them meet one, the processor fetches the next.
 * Many pass the whole panel four at a time.
 */
export function panelInt8(q: usize, scales: usize, w: usize, out: usize, outStride: usize, rows: i32, Kpad: i32): void {
  const blocks = Kpad / BLOCK;
  const atOnce = rows > FEW_ROWS ? blocks : 1;
  for (let block = 0; block < blocks; block += atOnce) {
    addBlocks(q, Kpad, scales, blocks, w, block, atOnce, out, outStride, rows);
    w += BLOCK_BYTES;
  }
}

/**
 * Adds the products of rows with so many blocks of a panel, of which `w` is the first and number `block` of the panel.
 * Rows of q have Kpad bytes, and `blocks` scales. The panel's first block begins new sums.
 */
export function addBlocks(
  q: usize, Kpad: i32, scales: usize, blocks: i32, w: usize, block: i32, count: i32, out: usize, outStride: usize, rows: i32,
): void {
  const scaleStride: usize = blocks << 2;
  q += block * BLOCK;
  scales += block << 2;
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    if (block == 0) clearRows(out, outStride, 4);
    tile4(q, Kpad, scales, scaleStride, count, w, out, outStride);
    q += <usize>Kpad << 2;
    scales += scaleStride << 2;
    out += outStride << 2;
  }
  for (; r < rows; r++) {
    if (block == 0) clearRows(out, outStride, 1);
    tile1(q, scales, count, w, out);
    q += Kpad;
    scales += scaleStride;
    out += outStride;
  }
}

// @ts-ignore: decorator
@inline
export function clearRows(out: usize, outStride: usize, rows: i32): void {
  const zero = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    store16(out, zero, zero, zero, zero);
    out += outStride;
  }
}

function tile4(q: usize, Kpad: i32, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  for (let block = 0; block < blocks; block++) {
    const header = w;
    w += HEADER;
    const s0 = startOf(v128.load(header)), s1 = startOf(v128.load(header, 16));
    const s2 = startOf(v128.load(header, 32)), s3 = startOf(v128.load(header, 48));
    let a00 = s0, a01 = s1, a02 = s2, a03 = s3;
    let a10 = s0, a11 = s1, a12 = s2, a13 = s3;
    let a20 = s0, a21 = s1, a22 = s2, a23 = s3;
    let a30 = s0, a31 = s1, a32 = s2, a33 = s3;
    let x0 = q, x1 = x0 + Kpad, x2 = x1 + Kpad, x3 = x2 + Kpad;
    const end = x0 + BLOCK;
    while (x0 < end) {
      const w0 = v128.load(w, 0), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
      let v = v128.load32_splat(x0);
      a00 = dot4(w0, v, a00);
      a01 = dot4(w1, v, a01);
      a02 = dot4(w2, v, a02);
      a03 = dot4(w3, v, a03);
      v = v128.load32_splat(x1);
      a10 = dot4(w0, v, a10);
      a11 = dot4(w1, v, a11);
      a12 = dot4(w2, v, a12);
      a13 = dot4(w3, v, a13);
      v = v128.load32_splat(x2);
      a20 = dot4(w0, v, a20);
      a21 = dot4(w1, v, a21);
      a22 = dot4(w2, v, a22);
      a23 = dot4(w3, v, a23);
      v = v128.load32_splat(x3);
      a30 = dot4(w0, v, a30);
      a31 = dot4(w1, v, a31);
      a32 = dot4(w2, v, a32);
      a33 = dot4(w3, v, a33);
      const y0 = v128.load(w, 64), y1 = v128.load(w, 80), y2 = v128.load(w, 96), y3 = v128.load(w, 112);
      v = v128.load32_splat(x0, 4);
      a00 = dot4(y0, v, a00);
      a01 = dot4(y1, v, a01);
      a02 = dot4(y2, v, a02);
      a03 = dot4(y3, v, a03);
      v = v128.load32_splat(x1, 4);
      a10 = dot4(y0, v, a10);
      a11 = dot4(y1, v, a11);
      a12 = dot4(y2, v, a12);
      a13 = dot4(y3, v, a13);
      v = v128.load32_splat(x2, 4);
      a20 = dot4(y0, v, a20);
      a21 = dot4(y1, v, a21);
      a22 = dot4(y2, v, a22);
      a23 = dot4(y3, v, a23);
      v = v128.load32_splat(x3, 4);
      a30 = dot4(y0, v, a30);
      a31 = dot4(y1, v, a31);
      a32 = dot4(y2, v, a32);
      a33 = dot4(y3, v, a33);
      w += 128;
      x0 += 8;
      x1 += 8;
      x2 += 8;
      x3 += 8;
    }
    q = end;
    const m0 = scaleOf(v128.load(header)), m1 = scaleOf(v128.load(header, 16));
    const m2 = scaleOf(v128.load(header, 32)), m3 = scaleOf(v128.load(header, 48));
    addRow(out, scales, m0, m1, m2, m3, a00, a01, a02, a03);
    addRow(out + outStride, scales + scaleStride, m0, m1, m2, m3, a10, a11, a12, a13);
    addRow(out + (outStride << 1), scales + (scaleStride << 1), m0, m1, m2, m3, a20, a21, a22, a23);
    addRow(out + outStride * 3, scales + scaleStride * 3, m0, m1, m2, m3, a30, a31, a32, a33);
    scales += 4;
  }
}

/** One row alone: sums stay in registers from block to block. */
function tile1(q: usize, scales: usize, blocks: i32, w: usize, out: usize): void {
  let y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  for (let block = 0; block < blocks; block++) {
    const header = w;
    w += HEADER;
    let a0 = startOf(v128.load(header)), a1 = startOf(v128.load(header, 16));
    let a2 = startOf(v128.load(header, 32)), a3 = startOf(v128.load(header, 48));
    const end = q + BLOCK;
    while (q < end) {
      const v = v128.load32_splat(q);
      a0 = dot4(v128.load(w), v, a0);
      a1 = dot4(v128.load(w, 16), v, a1);
      a2 = dot4(v128.load(w, 32), v, a2);
      a3 = dot4(v128.load(w, 48), v, a3);
      w += 64;
      q += 4;
    }
    const xScale = v128.load32_splat(scales);
    y0 = addScaled(y0, a0, scaleOf(v128.load(header)), xScale);
    y1 = addScaled(y1, a1, scaleOf(v128.load(header, 16)), xScale);
    y2 = addScaled(y2, a2, scaleOf(v128.load(header, 32)), xScale);
    y3 = addScaled(y3, a3, scaleOf(v128.load(header, 48)), xScale);
    scales += 4;
  }
  store16(out, y0, y1, y2, y3);
}

/** One row and two panels, from both halves of the matrix: memory gives more to two readers that are far apart. */
function pair(q: usize, scales: usize, blocks: i32, w: usize, u: usize, out: usize, farOut: usize): void {
  const zero = f32x4.splat(0);
  let y0 = zero, y1 = zero, y2 = zero, y3 = zero, z0 = zero, z1 = zero, z2 = zero, z3 = zero;
  for (let block = 0; block < blocks; block++) {
    const header = w, farHeader = u;
    w += HEADER;
    u += HEADER;
    let a0 = startOf(v128.load(header)), a1 = startOf(v128.load(header, 16));
    let a2 = startOf(v128.load(header, 32)), a3 = startOf(v128.load(header, 48));
    let b0 = startOf(v128.load(farHeader)), b1 = startOf(v128.load(farHeader, 16));
    let b2 = startOf(v128.load(farHeader, 32)), b3 = startOf(v128.load(farHeader, 48));
    const end = q + BLOCK;
    while (q < end) {
      const v = v128.load32_splat(q);
      a0 = dot4(v128.load(w), v, a0);
      a1 = dot4(v128.load(w, 16), v, a1);
      a2 = dot4(v128.load(w, 32), v, a2);
      a3 = dot4(v128.load(w, 48), v, a3);
      b0 = dot4(v128.load(u), v, b0);
      b1 = dot4(v128.load(u, 16), v, b1);
      b2 = dot4(v128.load(u, 32), v, b2);
      b3 = dot4(v128.load(u, 48), v, b3);
      w += 64;
      u += 64;
      q += 4;
    }
    const xScale = v128.load32_splat(scales);
    y0 = addScaled(y0, a0, scaleOf(v128.load(header)), xScale);
    y1 = addScaled(y1, a1, scaleOf(v128.load(header, 16)), xScale);
    y2 = addScaled(y2, a2, scaleOf(v128.load(header, 32)), xScale);
    y3 = addScaled(y3, a3, scaleOf(v128.load(header, 48)), xScale);
    z0 = addScaled(z0, b0, scaleOf(v128.load(farHeader)), xScale);
    z1 = addScaled(z1, b1, scaleOf(v128.load(farHeader, 16)), xScale);
    z2 = addScaled(z2, b2, scaleOf(v128.load(farHeader, 32)), xScale);
    z3 = addScaled(z3, b3, scaleOf(v128.load(farHeader, 48)), xScale);
    scales += 4;
  }
  store16(out, y0, y1, y2, y3);
  store16(farOut, z0, z1, z2, z3);
}

// @ts-ignore: decorator
@inline
function addRow(
  out: usize, scale: usize, m0: v128, m1: v128, m2: v128, m3: v128, a: v128, b: v128, c: v128, d: v128,
): void {
  const xScale = v128.load32_splat(scale);
  const ya = v128.load(out), yb = v128.load(out, 16), yc = v128.load(out, 32), yd = v128.load(out, 48);
  store16(out, addScaled(ya, a, m0, xScale), addScaled(yb, b, m1, xScale), addScaled(yc, c, m2, xScale), addScaled(yd, d, m3, xScale));
}
