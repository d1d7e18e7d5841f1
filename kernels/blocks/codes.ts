// Codes of weights in a panel's block, as bytes: what the dot product takes.

import { constant, decoded, FIFTH_BIT, is, isSigned, LOW_BITS, Q5_K, Q6_K, UPPER_TWO, WORDS, wordsAt } from './formats';

/** Inputs that {@link codesOf} takes apart: four times four. */
export const UNIT: i32 = 16;

/** Bytes that a unit's codes take, and the step from a unit's upper bits to the next ones. */
// @ts-ignore: decorator
@inline
export function unitBytes<F>(): usize {
  return isSigned<F>() ? 4 * WORDS : 2 * WORDS;
}

/** Upper bits are one vector for two units of Q5_K, and for each of Q6_K. */
// @ts-ignore: decorator
@inline
export function planesOf<F>(planes: usize, unit: usize): usize {
  return planes + (is<F, Q6_K>() ? unit : unit >> 1) * WORDS;
}

/**
 * Codes of four outputs, v of 0 to 3, for inputs 4 i to 4 i + 3 of a unit. `codes` and `planes` are those of the unit;
 * `second` tells the second of two units with the same vectors of upper bits. All but the addresses are constants.
 *
 * Bits 4 to 7 of such a vector belong to inputs 0-3, 4-7 and so on of the first unit of Q5_K, bits 0 to 3 to the second's.
 * In Q6_K, bits 4 and 5 are i = 0, then 6 and 7, 0 and 1, 2 and 3.
 */
// @ts-ignore: decorator
@inline
export function codesOf<F>(codes: usize, planes: usize, second: bool, i: usize, v: usize): v128 {
  if (isSigned<F>()) return wordsAt(codes + (i << 6), v);
  const bytes = wordsAt(codes + ((i >> 1) << 6), v);
  const low = v128.and(i & 1 ? i16x8.shr_u(bytes, 4) : bytes, constant(LOW_BITS));
  if (is<F, Q5_K>()) {
    const bits = wordsAt(planes, v);
    const moved = second ? i16x8.shl(bits, 4 - <i32>i) : i == 0 ? bits : i16x8.shr_u(bits, <i32>i);
    return v128.or(low, v128.and(moved, constant(FIFTH_BIT)));
  }
  if (is<F, Q6_K>()) {
    const bits = wordsAt(planes, v);
    const moved = i == 0 ? bits : i == 1 ? i16x8.shr_u(bits, 2) : i16x8.shl(bits, i == 2 ? 4 : 2);
    return v128.or(low, v128.and(moved, constant(UPPER_TWO)));
  }
  return decoded<F>(low);
}
