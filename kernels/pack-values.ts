// What all packing of weights shares: rounding, and the word that heads a block.

export { BLOCK } from './quantized';

/** Rounds to nearest even; NaN stays NaN. */
// @ts-ignore: decorator
@inline
export function roundBF16(bits: u32): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc00000;
  return (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
}

// @ts-ignore: decorator
@inline
export function toBF16(value: f64): f64 {
  return <f64>reinterpret<f32>(roundBF16(reinterpret<u32>(<f32>value)));
}

// @ts-ignore: decorator
@inline
export function nearest(value: f64): f64 {
  return Math.floor(value + 0.5);
}

// @ts-ignore: decorator
@inline
export function value(values: usize, k: i32): f64 {
  return <f64>load<f32>(values + (<usize>k << 2));
}

/** A header's word: the scale as bfloat16, and -Σ of the block's integers. */
// @ts-ignore: decorator
@inline
export function headerWord(scale: f64, sum: i32): u32 {
  return (reinterpret<u32>(<f32>scale) & 0xffff0000) | (<u32>-sum & 0xffff);
}

/** Constants for rounding and clamping levels to {@link LIMITS}: see CONSTANTS in ./math. */
const HALF: usize = memory.data<f64>([0.5]);
/** 1.5 * 2^52, which leaves an integer in the low bits of a float64. */
const MAGIC: usize = memory.data<f64>([6755399441055744.0]);

/** Two of the nearest integers to values / steps, at least limits[0] and at most limits[1]. */
// @ts-ignore: decorator
@inline
export function levels(values: usize, steps: v128, limits: usize): v128 {
  const quotients = f64x2.div(f64x2.promote_low_f32x4(v128.load64_zero(values)), steps);
  const nearest = f64x2.floor(f64x2.add(quotients, v128.load64_splat(HALF)));
  return f64x2.pmin(v128.load64_splat(limits, 8), f64x2.pmax(v128.load64_splat(limits), nearest));
}

/** Four integers as bytes, in each lane. */
// @ts-ignore: decorator
@inline
export function levelBytes(a: v128, b: v128): v128 {
  const x = f64x2.add(a, v128.load64_splat(MAGIC)), y = f64x2.add(b, v128.load64_splat(MAGIC));
  return v128.shuffle<i8>(x, y, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24, 0, 8, 16, 24);
}

// @ts-ignore: decorator
@inline
export function sumOf(pairs: v128): i32 {
  return <i32>(f64x2.extract_lane(pairs, 0) + f64x2.extract_lane(pairs, 1));
}
