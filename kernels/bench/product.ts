// Products as a matrix product makes them that finds every operand in the first-level cache: what `mamba2 bench` takes
// for the most that this machine can multiply and add.
//
// A step multiplies four vectors of weights by one splat value of each row, and adds to a sum per pair. More sums at
// once hide how long an instruction takes, but they must fit the registers: which number of rows is best depends on
// the processor, and on whether V8 widens pairs of instructions to 256 bits. The stores at the end are neighbours, from
// which V8 finds the pairs.

import { DOT, PAIRS as FORM_PAIRS } from '../products/form';
import { dotOf } from '../quantized';

const FLOATS: i32 = 0, INTEGERS: i32 = 1, PAIRS: i32 = 2;

/** Steps of the inner loop. What they read, some 30 KB, stays in the first-level cache. */
const STEPS: usize = 256;
/** Bytes from one row to the next. */
const ROW_BYTES: usize = 4 * STEPS;

export function floatRows2(x: usize, w: usize, out: usize, times: i32): void {
  multiply(FLOATS, 2, x, w, out, times);
}

export function floatRows3(x: usize, w: usize, out: usize, times: i32): void {
  multiply(FLOATS, 3, x, w, out, times);
}

export function floatRows4(x: usize, w: usize, out: usize, times: i32): void {
  multiply(FLOATS, 4, x, w, out, times);
}

export function floatRows6(x: usize, w: usize, out: usize, times: i32): void {
  multiply(FLOATS, 6, x, w, out, times);
}

export function integerRows2(x: usize, w: usize, out: usize, times: i32): void {
  multiply(INTEGERS, 2, x, w, out, times);
}

export function integerRows3(x: usize, w: usize, out: usize, times: i32): void {
  multiply(INTEGERS, 3, x, w, out, times);
}

export function integerRows4(x: usize, w: usize, out: usize, times: i32): void {
  multiply(INTEGERS, 4, x, w, out, times);
}

export function integerRows6(x: usize, w: usize, out: usize, times: i32): void {
  multiply(INTEGERS, 6, x, w, out, times);
}

export function pairRows2(x: usize, w: usize, out: usize, times: i32): void {
  multiply(PAIRS, 2, x, w, out, times);
}

export function pairRows3(x: usize, w: usize, out: usize, times: i32): void {
  multiply(PAIRS, 3, x, w, out, times);
}

export function pairRows4(x: usize, w: usize, out: usize, times: i32): void {
  multiply(PAIRS, 4, x, w, out, times);
}

export function pairRows6(x: usize, w: usize, out: usize, times: i32): void {
  multiply(PAIRS, 6, x, w, out, times);
}

/**
 * Goes `times` times, at least once, over the same operands.
 * @param x rows of STEPS * 4 bytes, one after another.
 * @param w STEPS * 64 bytes.
 * @param out rows * 64 bytes for the sums.
 */
// @ts-ignore: decorator
@inline
function multiply(kind: i32, rows: i32, x: usize, w: usize, out: usize, times: i32): void {
  let a00 = i32x4.splat(0), a01 = i32x4.splat(0), a02 = i32x4.splat(0), a03 = i32x4.splat(0);
  let a10 = i32x4.splat(0), a11 = i32x4.splat(0), a12 = i32x4.splat(0), a13 = i32x4.splat(0);
  let a20 = i32x4.splat(0), a21 = i32x4.splat(0), a22 = i32x4.splat(0), a23 = i32x4.splat(0);
  let a30 = i32x4.splat(0), a31 = i32x4.splat(0), a32 = i32x4.splat(0), a33 = i32x4.splat(0);
  let a40 = i32x4.splat(0), a41 = i32x4.splat(0), a42 = i32x4.splat(0), a43 = i32x4.splat(0);
  let a50 = i32x4.splat(0), a51 = i32x4.splat(0), a52 = i32x4.splat(0), a53 = i32x4.splat(0);
  do {
    let at = x;
    let weights = w;
    do {
      const w0 = v128.load(weights), w1 = v128.load(weights, 16), w2 = v128.load(weights, 32), w3 = v128.load(weights, 48);
      const x0 = v128.load_splat<i32>(at);
      a00 = addProducts(kind, a00, w0, x0);
      a01 = addProducts(kind, a01, w1, x0);
      a02 = addProducts(kind, a02, w2, x0);
      a03 = addProducts(kind, a03, w3, x0);
      if (rows > 1) {
        const x1 = v128.load_splat<i32>(at, ROW_BYTES);
        a10 = addProducts(kind, a10, w0, x1);
        a11 = addProducts(kind, a11, w1, x1);
        a12 = addProducts(kind, a12, w2, x1);
        a13 = addProducts(kind, a13, w3, x1);
      }
      if (rows > 2) {
        const x2 = v128.load_splat<i32>(at, 2 * ROW_BYTES);
        a20 = addProducts(kind, a20, w0, x2);
        a21 = addProducts(kind, a21, w1, x2);
        a22 = addProducts(kind, a22, w2, x2);
        a23 = addProducts(kind, a23, w3, x2);
      }
      if (rows > 3) {
        const x3 = v128.load_splat<i32>(at, 3 * ROW_BYTES);
        a30 = addProducts(kind, a30, w0, x3);
        a31 = addProducts(kind, a31, w1, x3);
        a32 = addProducts(kind, a32, w2, x3);
        a33 = addProducts(kind, a33, w3, x3);
      }
      if (rows > 4) {
        const x4 = v128.load_splat<i32>(at, 4 * ROW_BYTES);
        a40 = addProducts(kind, a40, w0, x4);
        a41 = addProducts(kind, a41, w1, x4);
        a42 = addProducts(kind, a42, w2, x4);
        a43 = addProducts(kind, a43, w3, x4);
      }
      if (rows > 5) {
        const x5 = v128.load_splat<i32>(at, 5 * ROW_BYTES);
        a50 = addProducts(kind, a50, w0, x5);
        a51 = addProducts(kind, a51, w1, x5);
        a52 = addProducts(kind, a52, w2, x5);
        a53 = addProducts(kind, a53, w3, x5);
      }
      weights += 64;
      at += 4;
    } while (at < x + ROW_BYTES);
  } while (--times);
  v128.store(out, a00);
  v128.store(out, a01, 16);
  v128.store(out, a02, 32);
  v128.store(out, a03, 48);
  if (rows > 1) {
    v128.store(out, a10, 64);
    v128.store(out, a11, 80);
    v128.store(out, a12, 96);
    v128.store(out, a13, 112);
  }
  if (rows > 2) {
    v128.store(out, a20, 128);
    v128.store(out, a21, 144);
    v128.store(out, a22, 160);
    v128.store(out, a23, 176);
  }
  if (rows > 3) {
    v128.store(out, a30, 192);
    v128.store(out, a31, 208);
    v128.store(out, a32, 224);
    v128.store(out, a33, 240);
  }
  if (rows > 4) {
    v128.store(out, a40, 256);
    v128.store(out, a41, 272);
    v128.store(out, a42, 288);
    v128.store(out, a43, 304);
  }
  if (rows > 5) {
    v128.store(out, a50, 320);
    v128.store(out, a51, 336);
    v128.store(out, a52, 352);
    v128.store(out, a53, 368);
  }
}

/**
 * Products added to the lanes of a sum: one of float32, or those of a lane's bytes or 16-bit integers. Relaxed
 * instructions fuse float32 where the processor can, and have products of bytes; those of 16-bit integers are the
 * quickest of integers without them.
 */
// @ts-ignore: decorator
@inline
function addProducts(kind: i32, sum: v128, w: v128, x: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (kind == FLOATS) return f32x4.relaxed_madd(w, x, sum);
    return dotOf(kind == PAIRS ? FORM_PAIRS : DOT, w, x, sum);
  }
  if (kind == FLOATS) return f32x4.add(sum, f32x4.mul(w, x));
  return i32x4.add(sum, i32x4.dot_i16x8_s(w, x));
}
