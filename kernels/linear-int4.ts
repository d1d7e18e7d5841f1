// y = x Wᵀ over int4 weights. See quantized.ts for how.

import { store16 } from './linear-f32';
import { BLOCK4, BLOCK8, dot4, SUMS } from './quantized';

/**
 * int4 panels: per block of 32 inputs, 16 float32 scales, then per 8 inputs 16 outputs * 4 bytes: the low halves of the
 * bytes are inputs 0-3, the high halves inputs 4-7, each q + 8. q, scales, sums from {@link quantizeRows} with limit 127
 * and offset 0; Kpad is a multiple of 32.
 */
export function linearInt4(
  q: usize, scales: usize, sums: usize, w: usize, out: usize, outStride: usize, rows: i32, panels: i32, Kpad: i32,
): void {
  const blocks = Kpad / BLOCK4;
  const scaleStride: usize = ((Kpad + BLOCK8 - 1) / BLOCK8) << 2;
  const sumStride: usize = scaleStride << 2;
  const panelBytes: usize = (64 + 16 * (BLOCK4 >> 1)) * blocks;
  for (let panel = 0; panel < panels; panel++) {
    let r: usize = 0;
    for (; r + 4 <= <usize>rows; r += 4) {
      tile4Int4(q + r * Kpad, Kpad, scales + r * scaleStride, scaleStride, sums + r * sumStride, blocks, w, out + r * outStride, outStride);
    }
    for (; r < <usize>rows; r++) {
      rowInt4(q + r * Kpad, scales + r * scaleStride, sums + r * sumStride, blocks, w, out + r * outStride);
    }
    w += panelBytes;
    out += 64;
  }
}

function tile4Int4(
  q: usize, Kpad: i32, scales: usize, scaleStride: usize, sums: usize, blocks: i32, w: usize, out: usize, outStride: usize,
): void {
  for (let block = 0; block < blocks; block++) {
    dots2Int4(q, q + Kpad, sums, sums + (scaleStride << 2), w + 64, SUMS);
    dots2Int4(q + 2 * Kpad, q + 3 * Kpad, sums + (scaleStride << 3), sums + scaleStride * 12, w + 64, SUMS + 128);
    for (let r: usize = 0; r < 4; r++) {
      addScaledSums(out + r * outStride, block == 0, w, v128.load32_splat(scales + r * scaleStride), SUMS + (r << 6));
    }
    q += BLOCK4;
    w += 64 + 16 * (BLOCK4 >> 1);
    sums += 4;
    if ((block & 3) == 3) scales += 4;
  }
}

/** Sums of 2 rows and 16 outputs over a block → out. */
function dots2Int4(x0: usize, x1: usize, sums0: usize, sums1: usize, w: usize, out: usize): void {
  const low = i8x16.splat(15);
  let a00 = i32x4.splat(-8 * load<i32>(sums0)), a01 = a00, a02 = a00, a03 = a00;
  let a10 = i32x4.splat(-8 * load<i32>(sums1)), a11 = a10, a12 = a10, a13 = a10;
  const end = x0 + BLOCK4;
  while (x0 < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    const l0 = v128.and(w0, low), l1 = v128.and(w1, low), l2 = v128.and(w2, low), l3 = v128.and(w3, low);
    let v = v128.load32_splat(x0);
    a00 = dot4(v, l0, a00);
    a01 = dot4(v, l1, a01);
    a02 = dot4(v, l2, a02);
    a03 = dot4(v, l3, a03);
    v = v128.load32_splat(x1);
    a10 = dot4(v, l0, a10);
    a11 = dot4(v, l1, a11);
    a12 = dot4(v, l2, a12);
    a13 = dot4(v, l3, a13);
    const h0 = v128.and(i16x8.shr_u(w0, 4), low), h1 = v128.and(i16x8.shr_u(w1, 4), low);
    const h2 = v128.and(i16x8.shr_u(w2, 4), low), h3 = v128.and(i16x8.shr_u(w3, 4), low);
    v = v128.load32_splat(x0, 4);
    a00 = dot4(v, h0, a00);
    a01 = dot4(v, h1, a01);
    a02 = dot4(v, h2, a02);
    a03 = dot4(v, h3, a03);
    v = v128.load32_splat(x1, 4);
    a10 = dot4(v, h0, a10);
    a11 = dot4(v, h1, a11);
    a12 = dot4(v, h2, a12);
    a13 = dot4(v, h3, a13);
    w += 64;
    x0 += 8;
    x1 += 8;
  }
  store16(out, a00, a01, a02, a03);
  store16(out + 64, a10, a11, a12, a13);
}

function rowInt4(q: usize, scales: usize, sums: usize, blocks: i32, w: usize, out: usize): void {
  for (let block = 0; block < blocks; block++) {
    dots1Int4(q, sums, w + 64);
    addScaledSums(out, block == 0, w, v128.load32_splat(scales), SUMS);
    q += BLOCK4;
    w += 64 + 16 * (BLOCK4 >> 1);
    sums += 4;
    if ((block & 3) == 3) scales += 4;
  }
}

function dots1Int4(q: usize, sums: usize, w: usize): void {
  const low = i8x16.splat(15);
  let a0 = i32x4.splat(-8 * load<i32>(sums)), a1 = a0, a2 = a0, a3 = a0;
  const end = q + BLOCK4;
  while (q < end) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    let v = v128.load32_splat(q);
    a0 = dot4(v, v128.and(w0, low), a0);
    a1 = dot4(v, v128.and(w1, low), a1);
    a2 = dot4(v, v128.and(w2, low), a2);
    a3 = dot4(v, v128.and(w3, low), a3);
    v = v128.load32_splat(q, 4);
    a0 = dot4(v, v128.and(i16x8.shr_u(w0, 4), low), a0);
    a1 = dot4(v, v128.and(i16x8.shr_u(w1, 4), low), a1);
    a2 = dot4(v, v128.and(i16x8.shr_u(w2, 4), low), a2);
    a3 = dot4(v, v128.and(i16x8.shr_u(w3, 4), low), a3);
    w += 64;
    q += 8;
  }
  store16(SUMS, a0, a1, a2, a3);
}

/** out[16] (+)= (weight scales * activation scale) * sums. */
function addScaledSums(out: usize, first: bool, w: usize, xScale: v128, sums: usize): void {
  const ya = f32x4.mul(f32x4.mul(v128.load(w), xScale), f32x4.convert_i32x4_s(v128.load(sums)));
  const yb = f32x4.mul(f32x4.mul(v128.load(w, 16), xScale), f32x4.convert_i32x4_s(v128.load(sums, 16)));
  const yc = f32x4.mul(f32x4.mul(v128.load(w, 32), xScale), f32x4.convert_i32x4_s(v128.load(sums, 32)));
  const yd = f32x4.mul(f32x4.mul(v128.load(w, 48), xScale), f32x4.convert_i32x4_s(v128.load(sums, 48)));
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
