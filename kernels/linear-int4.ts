// y = x Wᵀ over int4 weights, which are int8 weights in another spelling: see quantized.ts and products/int4-panels.ts.
//
// A weight is scale * m * q: q in -8..7, m in 0..15 per 32 inputs, and a scale per 128. The products m * q fit a byte, so
// a panel is spelled out as int8 and multiplied as one; sums stay exact integers over the 128 inputs of a block.

import { store16 } from './linear-float';
import {
  addTiles, clearRows, FEW_ROWS, interleave, SPELLED_BYTES as SPELLED_INT8_BYTES, spellWords,
} from './linear-int8';
import { FORM, PAIRS, WORDS } from './products/form';
import {
  BLOCK_BYTES, EIGHTS, factorOf, FACTORS, factorsOf, lower, LOWER_HALVES, PART, SIGNS, unsigned, UPPER_HALVES,
} from './products/int4-panels';
import { addPartTiles, PARTS_BYTES, pairsOfParts, spellParts } from './products/parts';
import { addScaled, BLOCK, dot4, fetchNextPage, HEADER, scaleOf, startOf } from './quantized';

/** Panels that one row passes side by side. */
const SIDE_BY_SIDE: i32 = 8;
/** Bytes of a block as several rows meet it. */
const SPELLED_BYTES: usize = FORM == PAIRS ? PARTS_BYTES : SPELLED_INT8_BYTES;

/** q, scales from {@link quantizeRows}; Kpad is a multiple of the block. Scratch as that of linearInt8, and a block. */
export function linearInt4(
  q: usize, scales: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, Kpad: i32, scratch: usize,
): void {
  const blocks = Kpad / BLOCK;
  const panelBytes: usize = BLOCK_BYTES * blocks;
  if (rows == 1) {
    if (FORM == PAIRS) partSums(q, scratch, Kpad);
    const each = panels / SIDE_BY_SIDE;
    for (let i = 0; i < each; i++) {
      oneRow(q, scales, scratch, blocks, w, <usize>each * panelBytes, out, <usize>each << 6, SIDE_BY_SIDE);
      w += panelBytes;
      out += 64;
    }
    w += <usize>each * (SIDE_BY_SIDE - 1) * panelBytes;
    out += <usize>each * (SIDE_BY_SIDE - 1) << 6;
    return oneRow(q, scales, scratch, blocks, w, panelBytes, out, 64, panels % SIDE_BY_SIDE);
  }
  const spelled = interleave(q, scratch, rows, Kpad);
  const atOnce = rows > FEW_ROWS ? blocks : 1;
  for (let panel = 0; panel < panels; panel++) {
    for (let block = 0; block < blocks; block += atOnce) {
      for (let i: usize = 0; i < <usize>atOnce; i++) {
        spellBlock(w, spelled + i * SPELLED_BYTES, spelled + <usize>atOnce * SPELLED_BYTES);
        w += BLOCK_BYTES;
      }
      fetchNextPage(w, BLOCK_BYTES);
      if (FORM == PAIRS) addPartTiles(scratch, scales, blocks, spelled, block, atOnce, out, outStride, rows);
      else addTiles(scratch, scales, blocks, spelled, block, atOnce, out, outStride, rows);
    }
    out += 64;
  }
}

// @ts-ignore: decorator
@inline
function spellBlock(w: usize, to: usize, scratch: usize): void {
  if (FORM == PAIRS) spellParts(w, to);
  else if (FORM == WORDS) {
    spellOut(w, scratch);
    spellWords(scratch, to);
  } else spellOut(w, to);
}

/**
 * -8 times the sums of bytes 0 and 1, and of 2 and 3, of all words of a part, in the halves of a word: what 8 in each half
 * byte of weights adds to {@link pairsOfParts}.
 */
function partSums(q: usize, to: usize, Kpad: i32): void {
  const ones = i8x16.splat(1);
  for (const end = q + Kpad; q < end; q += PART) {
    const four = pairsOfParts(pairsOfParts(i32x4.splat(0), v128.load(q), ones), v128.load(q, 16), ones);
    const two = i16x8.add(four, v128.shuffle<i32>(four, four, 2, 3, 0, 1));
    const sum = i16x8.add(two, v128.shuffle<i32>(two, two, 1, 0, 3, 2));
    store<i32>(to, i32x4.extract_lane(i16x8.neg(i16x8.shl(sum, 3)), 0));
    to += 4;
  }
}

/**
 * One row and some panels that lie `step` bytes apart, in turns block by block: memory gives more to several readers that
 * are far apart.
 */
function oneRow(
  q: usize, scales: usize, sums: usize, blocks: i32, w: usize, step: usize, out: usize, outStep: usize, panels: i32,
): void {
  clearRows(out, outStep, panels);
  for (let block = 0; block < blocks; block++) {
    for (let i: usize = 0; i < <usize>panels; i++) {
      if (FORM == PAIRS) addBlockInPairs(q, scales, sums, w + i * step, out + i * outStep);
      else addBlock(q, scales, w + i * step, out + i * outStep);
    }
    w += BLOCK_BYTES;
    q += BLOCK;
    scales += 4;
    sums += BLOCK / PART * 4;
  }
}

/** A block of a panel → the same as int8. */
function spellOut(w: usize, to: usize): void {
  const h0 = v128.load(w), h1 = v128.load(w, 16), h2 = v128.load(w, 32), h3 = v128.load(w, 48);
  store16(to, h0, h1, h2, h3);
  let f0 = v128.load(w, 64), f1 = v128.load(w, 80);
  w += HEADER + FACTORS;
  to += HEADER;
  for (let part = 0; part < BLOCK / PART; part++) {
    const m0 = factorsOf(f0), m1 = factorsOf(f1), m2 = factorsOf(i32x4.shr_u(f0, 16)), m3 = factorsOf(i32x4.shr_u(f1, 16));
    const z0 = zeroOf(m0), z1 = zeroOf(m1), z2 = zeroOf(m2), z3 = zeroOf(m3);
    const end = w + 8 * PART;
    while (w < end) {
      const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
      const a0 = lowerProducts(w0, m0, z0), a1 = lowerProducts(w1, m1, z1);
      const a2 = lowerProducts(w2, m2, z2), a3 = lowerProducts(w3, m3, z3);
      const b0 = upperProducts(w0, m0, z0), b1 = upperProducts(w1, m1, z1);
      const b2 = upperProducts(w2, m2, z2), b3 = upperProducts(w3, m3, z3);
      store16(to, a0, a1, a2, a3);
      store16(to + 64, b0, b1, b2, b3);
      w += 64;
      to += 128;
    }
    f0 = i32x4.shr_u(f0, 4);
    f1 = i32x4.shr_u(f1, 4);
  }
}

/**
 * Adds one block of one panel to one row. m times the sum of q x over a part is the sum of m q x, so nothing is spelled
 * out. A half byte in a byte's upper half, the rest cleared, is 16 q as a signed byte.
 */
function addBlock(q: usize, scales: usize, w: usize, out: usize): void {
  const none = i32x4.splat(0);
  const header = w;
  const mask = v128.load32_splat(UPPER_HALVES);
  let a0 = none, a1 = none, a2 = none, a3 = none;
  let f0 = v128.load(w, 64), f1 = v128.load(w, 80);
  w += HEADER + FACTORS;
  for (let part = 0; part < BLOCK / PART; part++) {
    let p0 = none, p1 = none, p2 = none, p3 = none;
    const end = q + PART;
    while (q < end) {
      const low = v128.load32_splat(q), high = v128.load32_splat(q, 4);
      const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
      p0 = dot4(v128.and(w0, mask), high, dot4(v128.and(i16x8.shl(w0, 4), mask), low, p0));
      p1 = dot4(v128.and(w1, mask), high, dot4(v128.and(i16x8.shl(w1, 4), mask), low, p1));
      p2 = dot4(v128.and(w2, mask), high, dot4(v128.and(i16x8.shl(w2, 4), mask), low, p2));
      p3 = dot4(v128.and(w3, mask), high, dot4(v128.and(i16x8.shl(w3, 4), mask), low, p3));
      w += 64;
      q += 8;
    }
    a0 = i32x4.add(a0, i32x4.mul(p0, factorOf(f0)));
    a1 = i32x4.add(a1, i32x4.mul(p1, factorOf(f1)));
    a2 = i32x4.add(a2, i32x4.mul(p2, factorOf(i32x4.shr_u(f0, 16))));
    a3 = i32x4.add(a3, i32x4.mul(p3, factorOf(i32x4.shr_u(f1, 16))));
    f0 = i32x4.shr_u(f0, 4);
    f1 = i32x4.shr_u(f1, 4);
  }
  const xScale = v128.load32_splat(scales);
  const h0 = v128.load(header), h1 = v128.load(header, 16), h2 = v128.load(header, 32), h3 = v128.load(header, 48);
  const y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  store16(
    out,
    addScaled(y0, sumOf(a0, h0), scaleOf(h0), xScale), addScaled(y1, sumOf(a1, h1), scaleOf(h1), xScale),
    addScaled(y2, sumOf(a2, h2), scaleOf(h2), xScale), addScaled(y3, sumOf(a3, h3), scaleOf(h3), xScale),
  );
}

/**
 * {@link addBlock} with sums of 16 bits over a part: 16 products of half bytes 0..15 with activations up to 127 fit. They
 * start from what the 8 in each half byte adds.
 */
function addBlockInPairs(q: usize, scales: usize, sums: usize, w: usize, out: usize): void {
  const none = i32x4.splat(0);
  const header = w;
  // Read once: V8 does not move loads out of loops.
  const signs = v128.load32_splat(SIGNS), mask = v128.load32_splat(LOWER_HALVES);
  let a0 = none, a1 = none, a2 = none, a3 = none;
  let f0 = v128.load(w, 64), f1 = v128.load(w, 80);
  w += HEADER + FACTORS;
  for (let part = 0; part < BLOCK / PART; part++) {
    let p0 = v128.load32_splat(sums), p1 = p0, p2 = p0, p3 = p0;
    sums += 4;
    const end = q + PART;
    while (q < end) {
      const low = v128.load32_splat(q), high = v128.load32_splat(q, 4);
      const w0 = unsigned(v128.load(w), signs), w1 = unsigned(v128.load(w, 16), signs);
      const w2 = unsigned(v128.load(w, 32), signs), w3 = unsigned(v128.load(w, 48), signs);
      p0 = pairsOfParts(pairsOfParts(p0, low, lower(w0, mask)), high, lower(i16x8.shr_u(w0, 4), mask));
      p1 = pairsOfParts(pairsOfParts(p1, low, lower(w1, mask)), high, lower(i16x8.shr_u(w1, 4), mask));
      p2 = pairsOfParts(pairsOfParts(p2, low, lower(w2, mask)), high, lower(i16x8.shr_u(w2, 4), mask));
      p3 = pairsOfParts(pairsOfParts(p3, low, lower(w3, mask)), high, lower(i16x8.shr_u(w3, 4), mask));
      w += 64;
      q += 8;
    }
    a0 = i32x4.add(a0, i32x4.dot_i16x8_s(p0, factorsOf(f0)));
    a1 = i32x4.add(a1, i32x4.dot_i16x8_s(p1, factorsOf(f1)));
    a2 = i32x4.add(a2, i32x4.dot_i16x8_s(p2, factorsOf(i32x4.shr_u(f0, 16))));
    a3 = i32x4.add(a3, i32x4.dot_i16x8_s(p3, factorsOf(i32x4.shr_u(f1, 16))));
    f0 = i32x4.shr_u(f0, 4);
    f1 = i32x4.shr_u(f1, 4);
  }
  const xScale = v128.load32_splat(scales);
  const h0 = v128.load(header), h1 = v128.load(header, 16), h2 = v128.load(header, 32), h3 = v128.load(header, 48);
  const y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  store16(
    out,
    addScaled(y0, i32x4.add(a0, startOf(h0)), scaleOf(h0), xScale), addScaled(y1, i32x4.add(a1, startOf(h1)), scaleOf(h1), xScale),
    addScaled(y2, i32x4.add(a2, startOf(h2)), scaleOf(h2), xScale), addScaled(y3, i32x4.add(a3, startOf(h3)), scaleOf(h3), xScale),
  );
}

/** Σ m q x of a block, from 16 Σ m q (x + 64). */
// @ts-ignore: decorator
@inline
function sumOf(products: v128, header: v128): v128 {
  return i32x4.add(i32x4.shr_s(products, 4), startOf(header));
}

/** 8 m in each byte: what (q + 8) m has too much. */
// @ts-ignore: decorator
@inline
function zeroOf(factors: v128): v128 {
  return i16x8.mul(factors, v128.load32_splat(EIGHTS));
}

/** Bytes with two q → the first as m q in each byte. */
// @ts-ignore: decorator
@inline
function lowerProducts(bytes: v128, factors: v128, zero: v128): v128 {
  return product(lower(unsigned(bytes)), factors, zero);
}

/** The second. */
// @ts-ignore: decorator
@inline
function upperProducts(bytes: v128, factors: v128, zero: v128): v128 {
  return product(lower(i16x8.shr_u(unsigned(bytes), 4)), factors, zero);
}

/** m q of pairs of bytes q + 8 at once: 15 * 15 < 256, so nothing is carried from one byte into the next. */
// @ts-ignore: decorator
@inline
function product(bytes: v128, factors: v128, zero: v128): v128 {
  return i8x16.sub(i16x8.mul(bytes, factors), zero);
}
