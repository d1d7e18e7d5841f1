// What int8 and int4 products share: activations that are quantised on the way in, and the dot product of bytes.
//
// The relaxed dot product multiplies signed bytes with bytes of 7 bits and adds four products to each int32 lane. So one
// of the two operands is kept within 0..127:
// - int8: activations, as round(x / s) + 64. What the 64 adds, 64 * Σ w per block and output, is known at load, and the
//   sums start from its negative.
// - int4: weights, as q + 8 in 0..15, which leaves activations their full 8 bits. What the 8 adds, 8 * Σ x per block, is
//   the same for all outputs of a row, and is computed with the row's scales.
// Integer sums are exact; per block they are scaled and added in float32, block after block, whatever the number of
// rows, so that a row's result has the same bits alone as among a thousand.

/** Inputs per block of int8 weights, and of activations in either scheme. */
export const BLOCK8: i32 = 128;
/** Inputs per block of int4 weights. */
export const BLOCK4: i32 = 32;

/** Integer sums of a tile: 4 rows of 16. Written and read back per block, because V8 widens the loops between best so. */
export const SUMS: usize = memory.data(256, 16);

/** Σ of four products per lane: signed bytes of a with bytes 0..127 of b. */
// @ts-ignore: decorator
@inline
export function dot4(a: v128, b: v128, sum: v128): v128 {
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
