// y = x Wᵀ over int8 weights. See quantized.ts for how.

import { store16 } from './linear-f32';
import { BLOCK8, dot4, SUMS } from './quantized';

/**
 * int8 panels: per block of 128 inputs, 16 float32 scales, 16 int32 starts (-64 * Σ w), then per 4 inputs 16 outputs * 4
 * bytes. q, scales from {@link quantizeRows} with limit 63 and offset 64.
 */
export function linearInt8(
  q: usize, scales: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, Kpad: i32,
): void {
  const blocks = (Kpad + BLOCK8 - 1) / BLOCK8;
  const panelBytes: usize = 16 * Kpad + 128 * blocks;
  for (let panel = 0; panel < panels; panel++) {
    let r = 0;
    for (; r + 4 <= rows; r += 4) {
      tile4Int8(q + <usize>r * Kpad, Kpad, scales + 4 * r * blocks, blocks, w, out + <usize>r * outStride, outStride);
    }
    for (; r < rows; r++) {
      rowInt8(q + <usize>r * Kpad, Kpad, scales + 4 * r * blocks, blocks, w, out + <usize>r * outStride);
    }
    w += panelBytes;
    out += 64;
  }
}

function tile4Int8(q: usize, Kpad: i32, scales: usize, blocks: i32, w: usize, out: usize, outStride: usize): void {
  const scaleStride: usize = blocks << 2;
  for (let block = 0; block < blocks; block++) {
    const bytes = min(BLOCK8, Kpad - block * BLOCK8);
    dots4Int8(q, Kpad, w + 128, bytes);
    for (let r = 0; r < 4; r++) {
      addScaled(out + <usize>r * outStride, block == 0, w, v128.load32_splat(scales + <usize>r * scaleStride), SUMS + (<usize>r << 6));
    }
    q += bytes;
    w += 128 + (<usize>bytes << 4);
    scales += 4;
  }
}

/** Sums of 4 rows and 16 outputs over `bytes` inputs → SUMS. */
function dots4Int8(q: usize, Kpad: i32, w: usize, bytes: i32): void {
  const zero = i32x4.splat(0);
  let a00 = zero, a01 = zero, a02 = zero, a03 = zero;
  let a10 = zero, a11 = zero, a12 = zero, a13 = zero;
  let a20 = zero, a21 = zero, a22 = zero, a23 = zero;
  let a30 = zero, a31 = zero, a32 = zero, a33 = zero;
  let x0 = q, x1 = x0 + Kpad, x2 = x1 + Kpad, x3 = x2 + Kpad;
  const end = x0 + bytes;
  while (x0 < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
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
    w += 64;
    x0 += 4;
    x1 += 4;
    x2 += 4;
    x3 += 4;
  }
  store16(SUMS, a00, a01, a02, a03);
  store16(SUMS + 64, a10, a11, a12, a13);
  store16(SUMS + 128, a20, a21, a22, a23);
  store16(SUMS + 192, a30, a31, a32, a33);
}

function rowInt8(q: usize, Kpad: i32, scales: usize, blocks: i32, w: usize, out: usize): void {
  for (let block = 0; block < blocks; block++) {
    const bytes = min(BLOCK8, Kpad - block * BLOCK8);
    dots1Int8(q, w + 128, bytes);
    addScaled(out, block == 0, w, v128.load32_splat(scales), SUMS);
    q += bytes;
    w += 128 + (<usize>bytes << 4);
    scales += 4;
  }
}

function dots1Int8(q: usize, w: usize, bytes: i32): void {
  let a0 = i32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  const end = q + bytes;
  while (q < end) {
    const v = v128.load32_splat(q);
    a0 = dot4(v128.load(w), v, a0);
    a1 = dot4(v128.load(w, 16), v, a1);
    a2 = dot4(v128.load(w, 32), v, a2);
    a3 = dot4(v128.load(w, 48), v, a3);
    w += 64;
    q += 4;
  }
  store16(SUMS, a0, a1, a2, a3);
}

/** out[16] (+)= (weight scales * activation scale) * (sums + starts); w points to 16 scales, then 16 starts. */
function addScaled(out: usize, first: bool, w: usize, xScale: v128, sums: usize): void {
  const a = f32x4.convert_i32x4_s(i32x4.add(v128.load(sums), v128.load(w, 64)));
  const b = f32x4.convert_i32x4_s(i32x4.add(v128.load(sums, 16), v128.load(w, 80)));
  const c = f32x4.convert_i32x4_s(i32x4.add(v128.load(sums, 32), v128.load(w, 96)));
  const d = f32x4.convert_i32x4_s(i32x4.add(v128.load(sums, 48), v128.load(w, 112)));
  const ya = f32x4.mul(f32x4.mul(v128.load(w), xScale), a);
  const yb = f32x4.mul(f32x4.mul(v128.load(w, 16), xScale), b);
  const yc = f32x4.mul(f32x4.mul(v128.load(w, 32), xScale), c);
  const yd = f32x4.mul(f32x4.mul(v128.load(w, 48), xScale), d);
  if (first) {
    store16(out, ya, yb, yc, yd);
  } else {
    store16(
      out,
      f32x4.add(v128.load(out), ya),
      f32x4.add(v128.load(out, 16), yb),
      f32x4.add(v128.load(out, 32), yc),
      f32x4.add(v128.load(out, 48), yd),
    );
  }
}
