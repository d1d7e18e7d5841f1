// Keys and values of 16 and 8 bits: rows of a head's D numbers, rounded to the nearest, ties to even, when they are written.
// float16 and the two of 8 bits saturate; NaN stays NaN.
//
// Numbers of 16 bits lie as the states of scan-short.ts. Of every 16 numbers of 8 bits a word has one in its uppermost byte
// and those 4, 8 and 12 places further in the next ones, so that all are widened without moving lanes; numbers beyond whole
// sixteens follow one by one.

import { e4m3s } from './e4m3';
import { BFLOAT16, FLOAT16, narrowed, narrowRow, widened, widenRow } from './scan-short';

/** Numbers of formats, in words that kernels take. */
export const KV_FLOAT32: i32 = 0;
const KV_FLOAT16: i32 = 1;
const KV_BFLOAT16: i32 = 2;
const KV_E4M3: i32 = 3;

/** Constants, as in math.ts. */
const FLOATS = memory.data<f32>([
  // The largest number and its negative, the least with an implicit leading one, and the factor from a power of two to a number
  // whose neighbours are as far as those of the format: for E4M3, then for E5M2.
  448.0, -448.0, 0.015625, 1572864.0, 57344.0, -57344.0, 6.103515625e-5, 3145728.0,
]);
const WORDS = memory.data<u32>([
  // exponent, sign, uppermost byte, 120 << 23, magnitude, 1 << 23, E4M3's NaN where its code begins, and its value
  0x7f800000, 0x80000000, 0xff000000, 0x3c000000, 0x7fffffff, 0x00800000, 0x07f00000, 0x43f00000,
]);

// @ts-ignore: decorator
@inline
function float(i: usize): v128 {
  return v128.load32_splat(FLOATS + (i << 2));
}

// @ts-ignore: decorator
@inline
function word(i: usize): v128 {
  return v128.load32_splat(WORDS + (i << 2));
}

/** Bytes of a number. */
export function kvBytes(format: i32): usize {
  return format == KV_FLOAT32 ? 4 : format <= KV_BFLOAT16 ? 2 : 1;
}

/** Four numbers of 8 bits from the uppermost bytes of words; what lies below counts for nothing. */
// @ts-ignore: decorator
@inline
function widened8(words: v128, isE4m3: bool): v128 {
  // E5M2 is the upper byte of a float16.
  if (!isE4m3) return widened(v128.and(words, word(2)), FLOAT16);
  const isNan = i32x4.ge_s(i32x4.add(v128.and(i32x4.shr_u(words, 4), word(6)), word(3)), word(7));
  return v128.or(e4m3s(words), v128.and(isNan, word(0)));
}

/** Four values rounded, in the uppermost bytes of words whose others are 0. */
// @ts-ignore: decorator
@inline
function narrowed8(v: v128, isE4m3: bool): v128 {
  const first: usize = isE4m3 ? 0 : 4;
  // Both give their first operand where either is NaN. Rounding takes none of the largest values further.
  const held = f32x4.pmax(f32x4.pmin(v, float(first)), float(first + 1));
  const large = f32x4.mul(f32x4.pmax(v128.and(held, word(0)), float(first + 2)), float(first + 3));
  const h = f32x4.sub(f32x4.add(held, large), large);
  // A rounded 0 would have lost its sign.
  if (!isE4m3) return v128.or(v128.and(narrowed(v128.and(h, word(4)), FLOAT16), word(2)), v128.and(v, word(1)));
  const magnitude = v128.and(h, word(4));
  const subnormal = i32x4.sub(f32x4.add(magnitude, float(2)), word(5));
  const bits = i32x4.min_s(i32x4.sub(i32x4.max_s(magnitude, subnormal), word(3)), word(6));
  return v128.or(i32x4.shl(bits, 4), v128.and(v, word(1)));
}

// @ts-ignore: decorator
@inline
function widenBytes(from: usize, to: usize, D: i32, isE4m3: bool): void {
  let d = 0;
  for (; d + 16 <= D; d += 16) {
    const words = v128.load(from);
    v128.store(to, widened8(words, isE4m3));
    v128.store(to, widened8(i32x4.shl(words, 8), isE4m3), 16);
    v128.store(to, widened8(i32x4.shl(words, 16), isE4m3), 32);
    v128.store(to, widened8(i32x4.shl(words, 24), isE4m3), 48);
    from += 16;
    to += 64;
  }
  for (; d < D; d++) {
    store<f32>(to, f32x4.extract_lane(widened8(i32x4.splat(<i32>load<u8>(from) << 24), isE4m3), 0));
    from += 1;
    to += 4;
  }
}

// @ts-ignore: decorator
@inline
function narrowBytes(from: usize, to: usize, D: i32, isE4m3: bool): void {
  let d = 0;
  for (; d + 16 <= D; d += 16) {
    const a = narrowed8(v128.load(from), isE4m3), b = narrowed8(v128.load(from, 16), isE4m3);
    const c = narrowed8(v128.load(from, 32), isE4m3), e = narrowed8(v128.load(from, 48), isE4m3);
    v128.store(to, v128.or(v128.or(a, i32x4.shr_u(b, 8)), v128.or(i32x4.shr_u(c, 16), i32x4.shr_u(e, 24))));
    from += 64;
    to += 16;
  }
  for (; d < D; d++) {
    store<u8>(to, <u8>(i32x4.extract_lane(narrowed8(v128.load32_splat(from), isE4m3), 0) >>> 24));
    from += 4;
    to += 1;
  }
}

/** A row of D numbers of a format → float32. */
export function widenKvRow(from: usize, to: usize, D: i32, format: i32): void {
  if (format == KV_FLOAT16) widenRow(from, to, D, FLOAT16);
  else if (format == KV_BFLOAT16) widenRow(from, to, D, BFLOAT16);
  else if (format == KV_E4M3) widenBytes(from, to, D, true);
  else widenBytes(from, to, D, false);
}

/** A row of D float32 → numbers of a format. */
export function narrowKvRow(from: usize, to: usize, D: i32, format: i32): void {
  if (format == KV_FLOAT16) narrowRow(from, to, D, FLOAT16, false);
  else if (format == KV_BFLOAT16) narrowRow(from, to, D, BFLOAT16, false);
  else if (format == KV_E4M3) narrowBytes(from, to, D, true);
  else narrowBytes(from, to, D, false);
}

/** Rows of D float32 → numbers of a format. */
export function narrowKvRows(from: usize, to: usize, rows: i32, D: i32, format: i32): void {
  for (let r = 0; r < rows; r++) {
    narrowKvRow(from, to, D, format);
    from += <usize>D << 2;
    to += <usize>D * kvBytes(format);
  }
}

/** Rows of D numbers of a format → float32. */
export function widenKvRows(from: usize, to: usize, rows: i32, D: i32, format: i32): void {
  for (let r = 0; r < rows; r++) {
    widenKvRow(from, to, D, format);
    from += <usize>D * kvBytes(format);
    to += <usize>D << 2;
  }
}
