// y = x Wᵀ over weights in blocks as their file holds them.
//
// 16 rows of weights at a time are spelled out, 128 inputs by 128: bytes as int8 panels have them, and each part's scale.
// Then rows of x pass, four at a time. Sums over a part are exact integers. Where the parts' scales are integers (Q4_K,
// Q5_K, Q6_K) the sum over 128 inputs is one, too; where they are floats (Q8_0, Q4_0), parts are added in float32 in their
// order. Then the block's scale and that of x apply, block after block, whatever the number of rows.
//
// The dot product takes signed bytes and bytes of 7 bits. Weights without a sign (0..63) are the latter, and x is signed
// bytes, round(x / s) with s = max|x| / 127; of what is taken from the weights (8, 32, minima) the sums of x over 16 inputs
// tell the product. Q8_0 has signed weights: x is bytes of 7 bits as for int8, and the sums start from -64 Σ w.

import { store16 } from '../linear-float';
import { madd } from '../math';
import { addScaled, BLOCK, dot4 } from '../quantized';
import {
  blockBytes, blockInputs, chunkOf, constant, EVEN_BYTES, fourWords, halves, hasFloatScales, is, LOW_BYTE, LOWER_HALF, minimaOfK,
  partInputs, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, scalesOfK, UPPER_HALF, words, zeroPoint,
} from './formats';
import { oneRow } from './one-row';

// A spelled-out block: words of 16 outputs each, then the bytes.
/** Factor of the block's sum of parts. */
const FACTOR: usize = 0;
/** Factor of its sum of minima. */
const MINIMUM_FACTOR: usize = 64;
/** Minima of two parts in a word, for four parts. */
const MINIMA: usize = 128;
/** Scales of up to eight parts: integers or floats. */
const SCALES: usize = 256;
/** Start of the sums of up to four parts. */
const STARTS: usize = 768;
const BYTES: usize = 1024;
/** Bytes of a spelled-out block. */
const SPELLED: usize = BYTES + 16 * BLOCK;

/** Rows whose sums of a panel fit the first cache together with a block of the panel and the rows' part of it. */
const FEW_ROWS: i32 = 32;

/** Sums of the parts of a block so far, four rows by 16 outputs. */
const SUMS = memory.data(256, 16);

/** Scratch memory for {@link linearBlocks}. */
export function blocksScratch(K: i32): usize {
  return SPELLED * <usize>((K + BLOCK - 1) / BLOCK);
}

/**
 * q, scales and sums of x are of quantizeRows (Q8_0) or quantizeSignedRows; K is a multiple of the format's block.
 * @param format 0 Q8_0, 1 Q4_0, 2 Q4_K, 3 Q5_K, 4 Q6_K
 * @param w rows of rowBytes
 */
export function linearBlocks(
  format: i32, q: usize, scales: usize, sums: usize, w: usize, rowBytes: usize, outFeatures: i32, out: usize,
  outStride: usize, rows: i32, K: i32, scratch: usize,
): void {
  if (format == 0) linear<Q8_0>(q, scales, sums, w, rowBytes, outFeatures, out, outStride, rows, K, scratch);
  else if (format == 1) linear<Q4_0>(q, scales, sums, w, rowBytes, outFeatures, out, outStride, rows, K, scratch);
  else if (format == 2) linear<Q4_K>(q, scales, sums, w, rowBytes, outFeatures, out, outStride, rows, K, scratch);
  else if (format == 3) linear<Q5_K>(q, scales, sums, w, rowBytes, outFeatures, out, outStride, rows, K, scratch);
  else linear<Q6_K>(q, scales, sums, w, rowBytes, outFeatures, out, outStride, rows, K, scratch);
}

function linear<F>(
  q: usize, scales: usize, sums: usize, w: usize, rowBytes: usize, outFeatures: i32, out: usize, outStride: usize,
  rows: i32, K: i32, scratch: usize,
): void {
  if (rows == 1) return oneRow<F>(q, scales, sums, w, rowBytes, outFeatures, out, K);
  const blocks = K / BLOCK;
  const atOnce = rows > FEW_ROWS ? blocks : 1;
  for (let output = 0; output < outFeatures; output += 16) {
    const count = min(16, outFeatures - output);
    for (let block = 0; block < blocks; block += atOnce) {
      for (let i = 0; i < atOnce; i++) spellOut<F>(w, rowBytes, count, block + i, scratch + <usize>i * SPELLED);
      multiply<F>(q, scales, sums, K, block, atOnce, scratch, out, outStride, rows);
    }
    w += rowBytes << 4;
    out += 64;
  }
}

/** 128 inputs of up to 16 rows; the last row stands for those that are missing. */
function spellOut<F>(w: usize, rowBytes: usize, count: i32, block: i32, to: usize): void {
  const perBlock = blockInputs<F>() / BLOCK;
  const half = <usize>(block % perBlock);
  const last = <usize>count - 1;
  w += <usize>(block / perBlock) * <usize>blockBytes<F>();
  for (let quad: usize = 0; quad < 4; quad++) {
    const first = quad << 2;
    const a = w + min(first, last) * rowBytes, b = w + min(first + 1, last) * rowBytes;
    const c = w + min(first + 2, last) * rowBytes, d = w + min(first + 3, last) * rowBytes;
    spellBytes<F>(a, b, c, d, half, to + BYTES + (quad << 4));
    spellScales<F>(a, b, c, d, half, to + (quad << 4));
  }
  if (is<F, Q8_0>()) spellStarts(to);
}

/** Four rows of 128 inputs: inputs 4 i to 4 i + 3 of the rows lie in a vector at 64 i. */
// @ts-ignore: decorator
@inline
function spellBytes<F>(a: usize, b: usize, c: usize, d: usize, half: usize, to: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const va = chunkOf<F>(a, half, i), vb = chunkOf<F>(b, half, i);
    const vc = chunkOf<F>(c, half, i), vd = chunkOf<F>(d, half, i);
    const ab0 = v128.shuffle<i32>(va, vb, 0, 4, 1, 5), ab1 = v128.shuffle<i32>(va, vb, 2, 6, 3, 7);
    const cd0 = v128.shuffle<i32>(vc, vd, 0, 4, 1, 5), cd1 = v128.shuffle<i32>(vc, vd, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<i64>(ab0, cd0, 0, 2));
    v128.store(to, v128.shuffle<i64>(ab0, cd0, 1, 3), 64);
    v128.store(to, v128.shuffle<i64>(ab1, cd1, 0, 2), 128);
    v128.store(to, v128.shuffle<i64>(ab1, cd1, 1, 3), 192);
    to += 256;
  }
}

/** The scales of four rows. `to` is their words of each 16. */
// @ts-ignore: decorator
@inline
function spellScales<F>(a: usize, b: usize, c: usize, d: usize, half: usize, to: usize): void {
  if (hasFloatScales<F>()) {
    const bytes = <usize>blockBytes<F>() >> 2;
    for (let part: usize = 0; part < 4; part++) {
      v128.store(to + (part << 6), halves(part * bytes, a, b, c, d), SCALES);
    }
    return;
  }
  if (is<F, Q6_K>()) {
    // Two words of four signed bytes.
    for (let word: usize = 0; word < 2; word++) {
      const scales = words(192 + (half << 3) + (word << 2), a, b, c, d);
      const at = to + (word << 8);
      v128.store(at, i32x4.shr_s(i32x4.shl(scales, 24), 24), SCALES);
      v128.store(at, i32x4.shr_s(i32x4.shl(scales, 16), 24), SCALES + 64);
      v128.store(at, i32x4.shr_s(i32x4.shl(scales, 8), 24), SCALES + 128);
      v128.store(at, i32x4.shr_s(scales, 24), SCALES + 192);
    }
    v128.store(to, halves(208, a, b, c, d), FACTOR);
    return;
  }
  const low = constant(LOW_BYTE);
  const scales = fourWords(scalesOfK(a, half), scalesOfK(b, half), scalesOfK(c, half), scalesOfK(d, half));
  v128.store(to, v128.and(scales, low), SCALES);
  v128.store(to, v128.and(i32x4.shr_u(scales, 8), low), SCALES + 64);
  v128.store(to, v128.and(i32x4.shr_u(scales, 16), low), SCALES + 128);
  v128.store(to, i32x4.shr_u(scales, 24), SCALES + 192);
  // Bytes 0 and 1 of a word of minima become the halves of a word, 2 and 3 those of another.
  const minima = fourWords(minimaOfK(a, half), minimaOfK(b, half), minimaOfK(c, half), minimaOfK(d, half));
  const even = v128.and(minima, constant(EVEN_BYTES)), odd = v128.and(i32x4.shr_u(minima, 8), constant(EVEN_BYTES));
  v128.store(to, v128.or(v128.and(even, constant(LOWER_HALF)), i32x4.shl(odd, 16)), MINIMA);
  v128.store(to, v128.or(i32x4.shr_u(even, 16), v128.and(odd, constant(UPPER_HALF))), MINIMA + 64);
  v128.store(to, halves(0, a, b, c, d), FACTOR);
  v128.store(to, f32x4.neg(halves(2, a, b, c, d)), MINIMUM_FACTOR);
}

/** -64 Σ w of the four parts of signed weights. */
function spellStarts(to: usize): void {
  const offset = i8x16.splat(64);
  let bytes = to + BYTES;
  for (let part: usize = 0; part < 4; part++) {
    for (let quad: usize = 0; quad < 64; quad += 16) {
      let sum = i32x4.splat(0);
      for (let i: usize = 0; i < 512; i += 64) sum = dot4(v128.load(bytes + quad + i), offset, sum);
      v128.store(to + STARTS + (part << 6) + quad, i32x4.neg(sum));
    }
    bytes += 512;
  }
}

/** Adds the products of rows with so many spelled-out blocks, of which `w` is the first and number `block` of the panel. */
function multiply<F>(
  q: usize, scales: usize, sums: usize, K: i32, block: i32, count: i32, w: usize, out: usize,
  outStride: usize, rows: i32,
): void {
  const scaleStride = <usize>(K / BLOCK) << 2, sumStride = <usize>(K / 16) << 1;
  q += <usize>block * BLOCK;
  scales += <usize>block << 2;
  sums += <usize>block << 4;
  let r = 0;
  for (; r + 4 <= rows; r += 4) {
    if (block == 0) for (let i: usize = 0; i < 4; i++) clear(out + i * outStride);
    tile4<F>(q, <usize>K, scales, scaleStride, sums, sumStride, count, w, out, outStride);
    q += <usize>K << 2;
    scales += scaleStride << 2;
    sums += sumStride << 2;
    out += outStride << 2;
  }
  for (; r < rows; r++) {
    if (block == 0) clear(out);
    tile1<F>(q, scales, sums, count, w, out);
    q += K;
    scales += scaleStride;
    sums += sumStride;
    out += outStride;
  }
}

// @ts-ignore: decorator
@inline
function clear(out: usize): void {
  const zero = f32x4.splat(0);
  store16(out, zero, zero, zero, zero);
}

function tile4<F>(
  q: usize, K: usize, scales: usize, scaleStride: usize, sums: usize, sumStride: usize, count: i32, w: usize,
  out: usize, outStride: usize,
): void {
  const inputs = <usize>partInputs<F>();
  for (let block = 0; block < count; block++) {
    let bytes = w + BYTES;
    let scale = w + SCALES, start = w + STARTS;
    const end = q + BLOCK;
    let x0 = q, sum = sums;
    while (x0 < end) {
      let x1 = x0 + K, x2 = x1 + K, x3 = x2 + K;
      let a00 = startOf<F>(start, sum), a01 = startOf<F>(start + 16, sum);
      let a02 = startOf<F>(start + 32, sum), a03 = startOf<F>(start + 48, sum);
      let a10 = startOf<F>(start, sum + sumStride), a11 = startOf<F>(start + 16, sum + sumStride);
      let a12 = startOf<F>(start + 32, sum + sumStride), a13 = startOf<F>(start + 48, sum + sumStride);
      const sum2 = sum + (sumStride << 1), sum3 = sum2 + sumStride;
      let a20 = startOf<F>(start, sum2), a21 = startOf<F>(start + 16, sum2);
      let a22 = startOf<F>(start + 32, sum2), a23 = startOf<F>(start + 48, sum2);
      let a30 = startOf<F>(start, sum3), a31 = startOf<F>(start + 16, sum3);
      let a32 = startOf<F>(start + 32, sum3), a33 = startOf<F>(start + 48, sum3);
      const partEnd = x0 + inputs;
      while (x0 < partEnd) {
        const w0 = v128.load(bytes), w1 = v128.load(bytes, 16), w2 = v128.load(bytes, 32), w3 = v128.load(bytes, 48);
        let v = v128.load32_splat(x0);
        a00 = dot<F>(w0, v, a00);
        a01 = dot<F>(w1, v, a01);
        a02 = dot<F>(w2, v, a02);
        a03 = dot<F>(w3, v, a03);
        v = v128.load32_splat(x1);
        a10 = dot<F>(w0, v, a10);
        a11 = dot<F>(w1, v, a11);
        a12 = dot<F>(w2, v, a12);
        a13 = dot<F>(w3, v, a13);
        v = v128.load32_splat(x2);
        a20 = dot<F>(w0, v, a20);
        a21 = dot<F>(w1, v, a21);
        a22 = dot<F>(w2, v, a22);
        a23 = dot<F>(w3, v, a23);
        v = v128.load32_splat(x3);
        a30 = dot<F>(w0, v, a30);
        a31 = dot<F>(w1, v, a31);
        a32 = dot<F>(w2, v, a32);
        a33 = dot<F>(w3, v, a33);
        bytes += 64;
        x0 += 4;
        x1 += 4;
        x2 += 4;
        x3 += 4;
      }
      const isFirst = x0 == q + inputs;
      addPart<F>(isFirst, scale, SUMS, a00, a01, a02, a03);
      addPart<F>(isFirst, scale, SUMS + 64, a10, a11, a12, a13);
      addPart<F>(isFirst, scale, SUMS + 128, a20, a21, a22, a23);
      addPart<F>(isFirst, scale, SUMS + 192, a30, a31, a32, a33);
      scale += 64;
      start += 64;
      sum += inputs >> 3;
    }
    q = end;
    finish<F>(SUMS, w, scales, sums, out);
    finish<F>(SUMS + 64, w, scales + scaleStride, sums + sumStride, out + outStride);
    finish<F>(SUMS + 128, w, scales + (scaleStride << 1), sums + (sumStride << 1), out + (outStride << 1));
    finish<F>(SUMS + 192, w, scales + scaleStride * 3, sums + sumStride * 3, out + outStride * 3);
    w += SPELLED;
    scales += 4;
    sums += 16;
  }
}

/** One row alone. */
function tile1<F>(q: usize, scales: usize, sums: usize, count: i32, w: usize, out: usize): void {
  const inputs = <usize>partInputs<F>();
  for (let block = 0; block < count; block++) {
    let bytes = w + BYTES;
    let scale = w + SCALES, start = w + STARTS;
    const end = q + BLOCK;
    let x = q, sum = sums;
    while (x < end) {
      let a0 = startOf<F>(start, sum), a1 = startOf<F>(start + 16, sum);
      let a2 = startOf<F>(start + 32, sum), a3 = startOf<F>(start + 48, sum);
      const partEnd = x + inputs;
      while (x < partEnd) {
        const v = v128.load32_splat(x);
        a0 = dot<F>(v128.load(bytes), v, a0);
        a1 = dot<F>(v128.load(bytes, 16), v, a1);
        a2 = dot<F>(v128.load(bytes, 32), v, a2);
        a3 = dot<F>(v128.load(bytes, 48), v, a3);
        bytes += 64;
        x += 4;
      }
      addPart<F>(x == q + inputs, scale, SUMS, a0, a1, a2, a3);
      scale += 64;
      start += 64;
      sum += inputs >> 3;
    }
    q = end;
    finish<F>(SUMS, w, scales, sums, out);
    w += SPELLED;
    scales += 4;
    sums += 16;
  }
}

/** What four outputs' sums over a part start from. */
// @ts-ignore: decorator
@inline
function startOf<F>(start: usize, sum: usize): v128 {
  if (is<F, Q8_0>()) return v128.load(start);
  const zero = zeroPoint<F>();
  if (zero == 0) return i32x4.splat(0);
  const total = <i32>load<i16>(sum) + (partInputs<F>() == 32 ? <i32>load<i16>(sum, 2) : 0);
  return i32x4.splat(-zero * total);
}

// @ts-ignore: decorator
@inline
function dot<F>(w: v128, x: v128, sum: v128): v128 {
  return is<F, Q8_0>() ? dot4(w, x, sum) : dot4(x, w, sum);
}

/** Adds the sums of a part of 16 outputs, times its scales, to those of the block. */
// @ts-ignore: decorator
@inline
function addPart<F>(isFirst: bool, scale: usize, to: usize, a: v128, b: v128, c: v128, d: v128): void {
  const s0 = v128.load(scale), s1 = v128.load(scale, 16), s2 = v128.load(scale, 32), s3 = v128.load(scale, 48);
  if (hasFloatScales<F>()) {
    a = f32x4.mul(f32x4.convert_i32x4_s(a), s0);
    b = f32x4.mul(f32x4.convert_i32x4_s(b), s1);
    c = f32x4.mul(f32x4.convert_i32x4_s(c), s2);
    d = f32x4.mul(f32x4.convert_i32x4_s(d), s3);
    if (isFirst) return store16(to, a, b, c, d);
    const t0 = v128.load(to), t1 = v128.load(to, 16), t2 = v128.load(to, 32), t3 = v128.load(to, 48);
    return store16(to, f32x4.add(t0, a), f32x4.add(t1, b), f32x4.add(t2, c), f32x4.add(t3, d));
  }
  a = i32x4.mul(a, s0);
  b = i32x4.mul(b, s1);
  c = i32x4.mul(c, s2);
  d = i32x4.mul(d, s3);
  if (isFirst) return store16(to, a, b, c, d);
  const t0 = v128.load(to), t1 = v128.load(to, 16), t2 = v128.load(to, 32), t3 = v128.load(to, 48);
  store16(to, i32x4.add(t0, a), i32x4.add(t1, b), i32x4.add(t2, c), i32x4.add(t3, d));
}

/** Adds a block's sums of a row and 16 outputs to the result. */
// @ts-ignore: decorator
@inline
function finish<F>(from: usize, w: usize, scale: usize, sums: usize, out: usize): void {
  const xScale = v128.load32_splat(scale);
  let y0 = v128.load(out), y1 = v128.load(out, 16), y2 = v128.load(out, 32), y3 = v128.load(out, 48);
  const s0 = v128.load(from), s1 = v128.load(from, 16), s2 = v128.load(from, 32), s3 = v128.load(from, 48);
  if (hasFloatScales<F>()) {
    return store16(out, madd(s0, xScale, y0), madd(s1, xScale, y1), madd(s2, xScale, y2), madd(s3, xScale, y3));
  }
  y0 = addScaled(y0, s0, v128.load(w, FACTOR), xScale);
  y1 = addScaled(y1, s1, v128.load(w, FACTOR + 16), xScale);
  y2 = addScaled(y2, s2, v128.load(w, FACTOR + 32), xScale);
  y3 = addScaled(y3, s3, v128.load(w, FACTOR + 48), xScale);
  if (!is<F, Q6_K>()) {
    // Sums of the four parts of x in pairs.
    const parts = i32x4.extadd_pairwise_i16x8_s(v128.load(sums));
    const pairs = i16x8.narrow_i32x4_s(parts, parts);
    const first = v128.shuffle<i32>(pairs, pairs, 0, 0, 0, 0), second = v128.shuffle<i32>(pairs, pairs, 1, 1, 1, 1);
    y0 = addMinima(y0, w, first, second, xScale);
    y1 = addMinima(y1, w + 16, first, second, xScale);
    y2 = addMinima(y2, w + 32, first, second, xScale);
    y3 = addMinima(y3, w + 48, first, second, xScale);
  }
  store16(out, y0, y1, y2, y3);
}

// @ts-ignore: decorator
@inline
function addMinima(y: v128, w: usize, first: v128, second: v128, xScale: v128): v128 {
  const low = i32x4.dot_i16x8_s(v128.load(w, MINIMA), first), high = i32x4.dot_i16x8_s(v128.load(w, MINIMA + 64), second);
  return addScaled(y, i32x4.add(low, high), v128.load(w, MINIMUM_FACTOR), xScale);
}
