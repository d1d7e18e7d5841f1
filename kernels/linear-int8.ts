// y = x Wᵀ over int8 weights. See quantized.ts for how.
//
// Several rows meet a panel in tiles of up to six. A tile's activations are interleaved: the words of its rows for four
// inputs lie side by side, so that one address leads to all.

import { store16 } from './linear-float';
import { FORM, DOT, VECTORS, WORDS } from './products/form';
import { addScaled, BLOCK, dotOf, fetchNextPage, HEADER, onesOf, scaleOf, startOf } from './quantized';

/** Bytes of one block of a panel: the header, then per 4 inputs 16 outputs * 4 bytes. */
export const BLOCK_BYTES: usize = HEADER + 16 * BLOCK;
/** Bytes of a block as {@link addTiles} takes it: pairs of 16 bits where the form multiplies these. */
export const SPELLED_BYTES: usize = FORM == WORDS ? HEADER + 32 * BLOCK : BLOCK_BYTES;

/**
 * q, scales from {@link quantizeRows}; Kpad is a multiple of the block. Scratch: two bytes an input of each row, and 33 of
 * a panel.
 */
export function linearInt8(
  q: usize, scales: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, Kpad: i32, scratch: usize,
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
    // The last panel alone, twice.
    if (panels & 1) pair(q, scales, blocks, w + far, w + far, out + (<usize>half << 6), out + (<usize>half << 6));
    return;
  }
  const spelled = interleave(q, scratch, rows, Kpad);
  const atOnce = rows > FEW_ROWS ? blocks : 1;
  for (let panel = 0; panel < panels; panel++) {
    for (let block = 0; block < blocks; block += atOnce) {
      let from = w;
      if (FORM == WORDS) {
        for (let i: usize = 0; i < <usize>atOnce; i++) spellWords(w + i * BLOCK_BYTES, spelled + i * SPELLED_BYTES);
        from = spelled;
      }
      w += BLOCK_BYTES * atOnce;
      fetchNextPage(w, BLOCK_BYTES);
      addTiles(scratch, scales, blocks, from, block, atOnce, out, outStride, rows);
    }
    out += 64;
  }
}

/** Rows whose sums of a panel fit the first cache together with a block of the panel and the rows' part of it. */
export const FEW_ROWS: i32 = 32;

/** Rows of the next tile, of those that are left: 8 are two tiles of 4. Six rows' sums, of 256 bits, fit the registers. */
// @ts-ignore: decorator
@inline
export function tileRows(left: i32, most: i32): i32 {
  if (left >= 4) return most == 6 && left >= 6 && left != 8 ? 6 : 4;
  return left >= 2 ? 2 : 1;
}

/** Rows of the largest tile. Forms other than DOT need more registers for what is in between. */
const MOST: i32 = FORM == DOT ? 6 : 4;
/** Bytes of four inputs of a row. */
const WORD_BYTES: usize = FORM == WORDS ? 8 : 4;

/** Quantised rows → tiles. Returns the address after them. */
export function interleave(q: usize, to: usize, rows: i32, Kpad: i32): usize {
  for (let r = 0; r < rows; ) {
    const count = tileRows(rows - r, MOST);
    for (let i = 0; i < count; i++) {
      let at = to + (<usize>i << 2);
      const step = <usize>count << 2;
      for (const end = q + Kpad; q < end; q += 4) {
        const word = load<u32>(q);
        if (FORM == WORDS) {
          store<u32>(at, word & 0x00ff00ff);
          at += step;
          store<u32>(at, (word >> 8) & 0x00ff00ff);
        } else store<u32>(at, word);
        at += step;
      }
    }
    to += <usize>count * (<usize>Kpad >> 2) * WORD_BYTES;
    r += count;
  }
  return to;
}

/** A block of int8 → bytes 0 and 2 of each word as 16 bits, then bytes 1 and 3. */
export function spellWords(w: usize, to: usize): void {
  const h0 = v128.load(w), h1 = v128.load(w, 16), h2 = v128.load(w, 32), h3 = v128.load(w, 48);
  store16(to, h0, h1, h2, h3);
  for (const end = w + BLOCK_BYTES; (w += 64) < end; ) {
    to += 64;
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    store16(
      to, i16x8.shr_s(i16x8.shl(w0, 8), 8), i16x8.shr_s(i16x8.shl(w1, 8), 8), i16x8.shr_s(i16x8.shl(w2, 8), 8),
      i16x8.shr_s(i16x8.shl(w3, 8), 8),
    );
    to += 64;
    store16(to, i16x8.shr_s(w0, 8), i16x8.shr_s(w1, 8), i16x8.shr_s(w2, 8), i16x8.shr_s(w3, 8));
  }
}

/**
 * Adds the products of rows, as {@link interleave} gives them, with so many blocks of a panel, of which `w` is the first
 * and number `block` of the panel; `blocks` are a whole panel. A few rows pass block by block: while all of them meet one,
 * the processor fetches the next. The panel's first block begins new sums.
 */
export function addTiles(
  x: usize, scales: usize, blocks: i32, w: usize, block: i32, count: i32, out: usize, outStride: usize, rows: i32,
): void {
  const scaleStride: usize = blocks << 2;
  const blockOfRow = <usize>(BLOCK >> 2) * WORD_BYTES;
  if (block == 0) clearRows(out, outStride, rows);
  scales += <usize>block << 2;
  for (let r = 0; r < rows; ) {
    const tile = tileRows(rows - r, MOST);
    const from = x + <usize>block * <usize>tile * blockOfRow;
    if (MOST == 6 && tile == 6) tile6(from, scales, scaleStride, count, w, out, outStride);
    else if (tile == 4) tile4(from, scales, scaleStride, count, w, out, outStride);
    else if (tile == 2) tile2(from, scales, scaleStride, count, w, out, outStride);
    else tile1(from, scales, scaleStride, count, w, out, outStride);
    x += <usize>blocks * <usize>tile * blockOfRow;
    scales += scaleStride * tile;
    out += outStride * tile;
    r += tile;
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

function tile6(x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  tile(FORM, VECTORS, 6, x, scales, scaleStride, blocks, w, out, outStride);
}

function tile4(x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  tile(FORM, VECTORS, 4, x, scales, scaleStride, blocks, w, out, outStride);
}

function tile2(x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  tile(FORM, VECTORS, 2, x, scales, scaleStride, blocks, w, out, outStride);
}

function tile1(x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  tile(FORM, VECTORS, 1, x, scales, scaleStride, blocks, w, out, outStride);
}

/** Adds the products of a tile's rows with some blocks. */
// @ts-ignore: decorator
@inline
export function tile(
  form: i32, vectors: i32, rows: i32, x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize,
  outStride: usize,
): void {
  // Half of a panel after the other where that is what registers hold.
  halfTile(form, vectors, rows, x, scales, scaleStride, blocks, w, out, outStride);
  if (vectors == 2) halfTile(form, vectors, rows, x, scales, scaleStride, blocks, w + 32, out + 32, outStride);
}

// @ts-ignore: decorator
@inline
function halfTile(
  form: i32, vectors: i32, rows: i32, x: usize, scales: usize, scaleStride: usize, blocks: i32, w: usize, out: usize,
  outStride: usize,
): void {
  const zero = i32x4.splat(0);
  for (; blocks > 0; blocks--) {
    const header = w;
    w += HEADER;
    const s0 = startOf(v128.load(header)), s1 = startOf(v128.load(header, 16));
    const s2 = vectors > 2 ? startOf(v128.load(header, 32)) : zero, s3 = vectors > 2 ? startOf(v128.load(header, 48)) : zero;
    let a00 = s0, a01 = s1, a02 = s2, a03 = s3;
    let a10 = s0, a11 = s1, a12 = s2, a13 = s3;
    let a20 = s0, a21 = s1, a22 = s2, a23 = s3;
    let a30 = s0, a31 = s1, a32 = s2, a33 = s3;
    let a40 = s0, a41 = s1, a42 = s2, a43 = s3;
    let a50 = s0, a51 = s1, a52 = s2, a53 = s3;
    const end = x + <usize>(form == WORDS ? 2 * BLOCK : BLOCK) * rows;
    while (x < end) {
      const w0 = v128.load(w), w1 = v128.load(w, 16);
      const w2 = vectors > 2 ? v128.load(w, 32) : zero, w3 = vectors > 2 ? v128.load(w, 48) : zero;
      const x0 = v128.load32_splat(x);
      a00 = step(form, w0, x0, a00);
      a01 = step(form, w1, x0, a01);
      if (vectors > 2) a02 = step(form, w2, x0, a02);
      if (vectors > 2) a03 = step(form, w3, x0, a03);
      if (rows > 1) {
        const x1 = v128.load32_splat(x, 4);
        a10 = step(form, w0, x1, a10);
        a11 = step(form, w1, x1, a11);
        if (vectors > 2) a12 = step(form, w2, x1, a12);
        if (vectors > 2) a13 = step(form, w3, x1, a13);
      }
      if (rows > 2) {
        const x2 = v128.load32_splat(x, 8), x3 = v128.load32_splat(x, 12);
        a20 = step(form, w0, x2, a20);
        a21 = step(form, w1, x2, a21);
        if (vectors > 2) a22 = step(form, w2, x2, a22);
        if (vectors > 2) a23 = step(form, w3, x2, a23);
        a30 = step(form, w0, x3, a30);
        a31 = step(form, w1, x3, a31);
        if (vectors > 2) a32 = step(form, w2, x3, a32);
        if (vectors > 2) a33 = step(form, w3, x3, a33);
      }
      if (rows > 4) {
        const x4 = v128.load32_splat(x, 16), x5 = v128.load32_splat(x, 20);
        a40 = step(form, w0, x4, a40);
        a41 = step(form, w1, x4, a41);
        if (vectors > 2) a42 = step(form, w2, x4, a42);
        if (vectors > 2) a43 = step(form, w3, x4, a43);
        a50 = step(form, w0, x5, a50);
        a51 = step(form, w1, x5, a51);
        if (vectors > 2) a52 = step(form, w2, x5, a52);
        if (vectors > 2) a53 = step(form, w3, x5, a53);
      }
      w += 64;
      x += <usize>rows << 2;
    }
    // All loads before the stores of addRow: V8 does not join loads across stores.
    const m0 = scaleOf(v128.load(header)), m1 = scaleOf(v128.load(header, 16));
    const m2 = vectors > 2 ? scaleOf(v128.load(header, 32)) : zero, m3 = vectors > 2 ? scaleOf(v128.load(header, 48)) : zero;
    addRow(vectors, out, scales, m0, m1, m2, m3, a00, a01, a02, a03);
    if (rows > 1) addRow(vectors, out + outStride, scales + scaleStride, m0, m1, m2, m3, a10, a11, a12, a13);
    if (rows > 2) addRow(vectors, out + outStride * 2, scales + scaleStride * 2, m0, m1, m2, m3, a20, a21, a22, a23);
    if (rows > 2) addRow(vectors, out + outStride * 3, scales + scaleStride * 3, m0, m1, m2, m3, a30, a31, a32, a33);
    if (rows > 4) addRow(vectors, out + outStride * 4, scales + scaleStride * 4, m0, m1, m2, m3, a40, a41, a42, a43);
    if (rows > 4) addRow(vectors, out + outStride * 5, scales + scaleStride * 5, m0, m1, m2, m3, a50, a51, a52, a53);
    scales += 4;
  }
}

/** Products of a word of weights with one of activations, or of what WORDS spells them as. */
// @ts-ignore: decorator
@inline
function step(form: i32, w: v128, x: v128, sum: v128): v128 {
  return form == WORDS ? i32x4.add(sum, i32x4.dot_i16x8_s(w, x)) : dotOf(form, w, x, sum);
}

// @ts-ignore: decorator
@inline
export function addRow(
  vectors: i32, out: usize, scale: usize, m0: v128, m1: v128, m2: v128, m3: v128, a: v128, b: v128, c: v128, d: v128,
): void {
  const xScale = v128.load32_splat(scale);
  const ya = v128.load(out), yb = v128.load(out, 16);
  if (vectors > 2) {
    const yc = v128.load(out, 32), yd = v128.load(out, 48);
    store16(out, addScaled(ya, a, m0, xScale), addScaled(yb, b, m1, xScale), addScaled(yc, c, m2, xScale), addScaled(yd, d, m3, xScale));
  } else {
    v128.store(out, addScaled(ya, a, m0, xScale));
    v128.store(out, addScaled(yb, b, m1, xScale), 16);
  }
}

function pair(q: usize, scales: usize, blocks: i32, w: usize, u: usize, out: usize, farOut: usize): void {
  pairIn(FORM, q, scales, blocks, w, u, out, farOut);
}

/** One row and two panels, from both halves of the matrix: memory gives more to two readers that are far apart. */
// @ts-ignore: decorator
@inline
export function pairIn(
  form: i32, q: usize, scales: usize, blocks: i32, w: usize, u: usize, out: usize, farOut: usize,
): void {
  const zero = f32x4.splat(0), ones = onesOf(form);
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
      a0 = dotOf(form, v128.load(w), v, a0, ones);
      a1 = dotOf(form, v128.load(w, 16), v, a1, ones);
      a2 = dotOf(form, v128.load(w, 32), v, a2, ones);
      a3 = dotOf(form, v128.load(w, 48), v, a3, ones);
      b0 = dotOf(form, v128.load(u), v, b0, ones);
      b1 = dotOf(form, v128.load(u, 16), v, b1, ones);
      b2 = dotOf(form, v128.load(u, 32), v, b2, ones);
      b3 = dotOf(form, v128.load(u, 48), v, b3, ones);
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
