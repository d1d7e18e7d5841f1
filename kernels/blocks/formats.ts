// Weights in blocks as a file holds them: row after row, each a run of blocks with scales of their own. What a block's
// bits stand for is defined by ggml (ggml-common.h); src/checkpoint/gguf/types holds the same definitions in TypeScript.
//
// A chunk is 16 inputs of one row: the values q of a block as bytes, without their scales. A part is the inputs that share
// a scale: 16 or 32.

/** The formats, as type parameters: code for one holds nothing of the others. */
export class Q8_0 {}
export class Q4_0 {}
export class Q4_K {}
export class Q5_K {}
export class Q6_K {}

/** Whether two formats are the same, known when the code is compiled. */
// @ts-ignore: decorator
@inline
export function is<F, G>(): bool {
  return idof<F>() == idof<G>();
}

/** Whether parts have a float of 16 bits each, not an integer of a block's scale. */
// @ts-ignore: decorator
@inline
export function hasFloatScales<F>(): bool {
  return is<F, Q8_0>() || is<F, Q4_0>();
}

/** Masks, and the factor of {@link halfAt}. V8 builds a constant vector of some seven instructions; a load is one. */
const CONSTANTS = memory.data<i32>([
  0x0f0f0f0f, 0x01010101, 0x03030303, 0x3f3f3f3f, 0x30303030, 0x7fff, 0x8000, 0x77800000, 0x00ff00ff, 0xffff, 0xffff0000, 255,
]);
/** The lower halves of bytes. */
export const LOW_BITS: usize = CONSTANTS;
const ONES = CONSTANTS + 4, TWO_BITS = CONSTANTS + 8;
/** The lower six bits of bytes, and bits 4 and 5. */
export const SIX_BITS: usize = CONSTANTS + 12, UPPER_TWO: usize = CONSTANTS + 16;
const MAGNITUDE = CONSTANTS + 20, SIGN = CONSTANTS + 24, HALF_FACTOR = CONSTANTS + 28;
/** Every other byte, either half, and the lowest byte of words. */
export const EVEN_BYTES: usize = CONSTANTS + 32, LOWER_HALF: usize = CONSTANTS + 36, UPPER_HALF: usize = CONSTANTS + 40, LOW_BYTE: usize = CONSTANTS + 44;

/** A number in all lanes. */
// @ts-ignore: decorator
@inline
export function constant(address: usize): v128 {
  return v128.load32_splat(address);
}

/** Bytes that 128 inputs of a row take, as a multiple of which rows have blocks. */
export function blockBytes<F>(): i32 {
  if (is<F, Q8_0>()) return 4 * 34;
  if (is<F, Q4_0>()) return 4 * 18;
  if (is<F, Q4_K>()) return 144;
  if (is<F, Q5_K>()) return 176;
  return 210;
}

/** Inputs of a block of {@link blockBytes}. */
export function blockInputs<F>(): i32 {
  return hasFloatScales<F>() ? 128 : 256;
}

/** Inputs that share a scale. */
export function partInputs<F>(): i32 {
  return is<F, Q6_K>() ? 16 : 32;
}

/** What is taken from q to make it the value that the scale multiplies. */
export function zeroPoint<F>(): i32 {
  if (is<F, Q4_0>()) return 8;
  return is<F, Q6_K>() ? 32 : 0;
}

/** Chunk number c of the 128 inputs from `half` on (0 or 1, of a block with 256). */
// @ts-ignore: decorator
@inline
export function chunkOf<F>(block: usize, half: usize, c: usize): v128 {
  if (is<F, Q8_0>()) return v128.load(block + (c >> 1) * 34 + 2 + ((c & 1) << 4));
  const low = constant(LOW_BITS);
  if (is<F, Q4_0>()) {
    // Lower halves are inputs 0-15, upper halves 16-31.
    const bytes = v128.load(block + (c >> 1) * 18 + 2);
    return c & 1 ? v128.and(i16x8.shr_u(bytes, 4), low) : v128.and(bytes, low);
  }
  if (is<F, Q6_K>()) {
    // 64 bytes of lower bits, 32 of upper ones: see block_q6_K.
    const ql = v128.load(block + (half << 6) + ((c & 3) << 4));
    const qh = v128.load(block + 128 + (half << 5) + ((c & 1) << 4));
    const upper = v128.and(i16x8.shr_u(qh, <i32>(c >> 1) << 1), constant(TWO_BITS));
    return v128.or(c & 4 ? v128.and(i16x8.shr_u(ql, 4), low) : v128.and(ql, low), i16x8.shl(upper, 4));
  }
  // The lower halves of 32 bytes are one part, their upper halves the next.
  const part = c >> 1;
  const at = ((part >> 1) << 5) + ((c & 1) << 4) + (half << 6);
  const bytes = v128.load(block + (is<F, Q5_K>() ? 48 : 16) + at);
  const q = part & 1 ? v128.and(i16x8.shr_u(bytes, 4), low) : v128.and(bytes, low);
  if (is<F, Q4_K>()) return q;
  const qh = v128.load(block + 16 + ((c & 1) << 4));
  const bit = v128.and(i16x8.shr_u(qh, <i32>((half << 2) + part)), constant(ONES));
  return v128.or(q, i16x8.shl(bit, 4));
}

/** A float of 16 bits. Infinities and NaN are not told apart from large numbers: a check refuses them on loading. */
// @ts-ignore: decorator
@inline
export function halfAt(address: usize): f32 {
  const bits = <u32>load<u16>(address);
  const magnitude = reinterpret<f32>((bits & 0x7fff) << 13) * reinterpret<f32>(0x77800000);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/** A float of 16 bits of each of four blocks. Infinities and NaN as in {@link halfAt}. */
// @ts-ignore: decorator
@inline
export function halves(at: usize, a: usize, b: usize, c: usize, d: usize): v128 {
  const bits = fourWords(load<u16>(a + at), load<u16>(b + at), load<u16>(c + at), load<u16>(d + at));
  const magnitude = f32x4.mul(i32x4.shl(v128.and(bits, constant(MAGNITUDE)), 13), constant(HALF_FACTOR));
  return v128.or(magnitude, i32x4.shl(v128.and(bits, constant(SIGN)), 16));
}

/** A word of each of four blocks. */
// @ts-ignore: decorator
@inline
export function words(at: usize, a: usize, b: usize, c: usize, d: usize): v128 {
  return fourWords(load<u32>(a + at), load<u32>(b + at), load<u32>(c + at), load<u32>(d + at));
}

// @ts-ignore: decorator
@inline
export function fourWords(a: u32, b: u32, c: u32, d: u32): v128 {
  return i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(a), 1, b), 2, c), 3, d);
}

/** The four scales of half a Q4_K or Q5_K block, a byte each. */
// @ts-ignore: decorator
@inline
export function scalesOfK(block: usize, half: usize): u32 {
  if (half == 0) return load<u32>(block, 4) & 0x3f3f3f3f;
  return (load<u32>(block, 12) & 0x0f0f0f0f) | ((load<u32>(block, 4) >> 2) & 0x30303030);
}

/** Its four minima. */
// @ts-ignore: decorator
@inline
export function minimaOfK(block: usize, half: usize): u32 {
  if (half == 0) return load<u32>(block, 8) & 0x3f3f3f3f;
  return ((load<u32>(block, 12) >> 4) & 0x0f0f0f0f) | ((load<u32>(block, 8) >> 2) & 0x30303030);
}
