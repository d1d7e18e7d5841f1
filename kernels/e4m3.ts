// E4M3 floats → float32.
//
// A code's exponent and fraction, where those of a float32 begin, with another bias are the value of the code, unless its
// exponent is 0: it should then be 2 v - 2^-6. That is less than v below 2^-6 and more above, so the smaller of the two
// is right everywhere, and no number on the way is subnormal, which processors are slow with.

import { madd } from './math';

const BITS = memory.data<i32>([0x07f00000, 0x3c000000, 0x80000000]);
const FLOATS = memory.data<f32>([2.0, -0.015625]);

/** Values of the codes in the upper bytes of four words. */
// @ts-ignore: decorator
@inline
export function e4m3s(words: v128): v128 {
  const magnitude = i32x4.add(v128.and(i32x4.shr_u(words, 4), v128.load32_splat(BITS)), v128.load32_splat(BITS, 4));
  const subnormal = madd(magnitude, v128.load32_splat(FLOATS), v128.load32_splat(FLOATS, 4));
  return v128.or(f32x4.pmin(magnitude, subnormal), v128.and(words, v128.load32_splat(BITS, 8)));
}
