// y = x Wᵀ over int8 and int4 weights, with activations that are quantised on the way in.
//
// The relaxed dot product multiplies signed bytes with bytes of 7 bits and adds four products to each int32 lane. So one
// of the two operands is kept within 0..127:
// - int8: activations, as round(x / s) + 64. What the 64 adds, 64 * Σ w per block and output, is known at load, and the
//   sums start from its negative.
// - int4: weights, as q + 8 in 0..15, which leaves activations their full 8 bits. What the 8 adds, 8 * Σ x per block, is
//   the same for all outputs of a row, and is computed with the row's scales.
// Integer sums are exact; per block they are scaled and added in float32, block after block, whatever the number of
// rows, so that a row's result has the same bits alone as among a thousand.

import { store16 } from './linear-f32';

/** Inputs per block of int8 weights, and of activations in either scheme. */
const BLOCK8: i32 = 128;
/** Inputs per block of int4 weights. */
const BLOCK4: i32 = 32;

/** Integer sums of a tile: 4 rows of 16. Written and read back per block, because V8 widens the loops between best so. */
const SUMS: usize = memory.data(256, 16);

/** Σ of four products per lane: signed bytes of a with bytes 0..127 of b. */
// @ts-ignore: decorator
@inline
function dot4(a: v128, b: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(a, b, sum);
  // Pairs of neighbouring products, low and high half; then neighbouring pairs.
  const low = i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_low_i8x16_s(a, b));
  const high = i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_high_i8x16_s(a, b));
  const even = v128.shuffle<i32>(low, high, 0, 2, 4, 6);
  const odd = v128.shuffle<i32>(low, high, 1, 3, 5, 7);
  return i32x4.add(sum, i32x4.add(even, odd));
}

/**
 * Rows of K floats → bytes and one scale per block of 128: round(x / s) + offset with s = max|x| / limit.
 * Bytes beyond K are 0 or what stands for it. `q` rows are Kpad bytes (a multiple of 4), scales `blocks` floats a row.
 * With `sums` not null, Σ of the signed bytes per block of 32 goes there, `blocks * 4` ints a row.
 */
export function quantizeRows(
  x: usize, xStride: usize, q: usize, scales: usize, sums: usize, rows: i32, K: i32, Kpad: i32, limit: f32, offset: i32,
): void {
  const magic = f32x4.splat(12582912.0);
  for (let r = 0; r < rows; r++) {
    const row = x + <usize>r * xStride;
    for (let begin = 0; begin < Kpad; begin += BLOCK8) {
      const end = min(begin + BLOCK8, Kpad);
      const given = min(end, K);
      let largest: f32 = 0;
      let vmax = f32x4.splat(0);
      let k = begin;
      let vmax2 = vmax;
      for (; k + 8 <= given; k += 8) {
        vmax = f32x4.max(vmax, f32x4.abs(v128.load(row + (<usize>k << 2))));
        vmax2 = f32x4.max(vmax2, f32x4.abs(v128.load(row + (<usize>k << 2), 16)));
      }
      vmax = f32x4.max(vmax, vmax2);
      for (; k < given; k++) largest = max(largest, abs(load<f32>(row + (<usize>k << 2))));
      largest = max(largest, max(max(f32x4.extract_lane(vmax, 0), f32x4.extract_lane(vmax, 1)),
        max(f32x4.extract_lane(vmax, 2), f32x4.extract_lane(vmax, 3))));
      store<f32>(scales, largest / limit);
      scales += 4;
      const inverse: f32 = largest > 0 ? limit / largest : 0;
      const vinverse = f32x4.splat(inverse);
      const voffset = i32x4.splat(offset - 0x4b400000);
      k = begin;
      // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the float.
      for (; k + 16 <= given; k += 16) {
        const at = row + (<usize>k << 2);
        const a = i32x4.add(f32x4.add(f32x4.mul(v128.load(at), vinverse), magic), voffset);
        const b = i32x4.add(f32x4.add(f32x4.mul(v128.load(at, 16), vinverse), magic), voffset);
        const c = i32x4.add(f32x4.add(f32x4.mul(v128.load(at, 32), vinverse), magic), voffset);
        const d = i32x4.add(f32x4.add(f32x4.mul(v128.load(at, 48), vinverse), magic), voffset);
        v128.store(q + k, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d)));
      }
      for (; k < given; k++) {
        const bits = reinterpret<i32>(load<f32>(row + (<usize>k << 2)) * inverse + <f32>12582912.0);
        store<i8>(q + k, <i8>(bits - 0x4b400000 + offset));
      }
      for (; k < end; k++) store<i8>(q + k, <i8>offset);
      if (sums) {
        for (let b = begin; b < begin + BLOCK8; b += BLOCK4) {
          let sum = 0;
          if (b + BLOCK4 <= end) {
            const pairs = i16x8.add(
              i16x8.extadd_pairwise_i8x16_s(v128.load(q + b)),
              i16x8.extadd_pairwise_i8x16_s(v128.load(q + b, 16)),
            );
            const four = i32x4.extadd_pairwise_i16x8_s(pairs);
            sum = i32x4.extract_lane(four, 0) + i32x4.extract_lane(four, 1) + i32x4.extract_lane(four, 2) + i32x4.extract_lane(four, 3);
          }
          store<i32>(sums, sum);
          sums += 4;
        }
      }
    }
    q += Kpad;
  }
}

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
