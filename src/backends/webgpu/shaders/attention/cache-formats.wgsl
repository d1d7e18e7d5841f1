// Keys and values in CACHE, their dtype: a head's row begins at a word, and numbers of 16 or 8 bits lie in words in their
// order, the first in the lowest bits. They are rounded to the nearest, ties to even; all but bfloat16 saturate. NaN, which
// bits tell more surely than comparisons, stays NaN.
#if CACHE == float32
const PER_WORD = 1u;
fn valueOf(word: u32, i: u32) -> f32 { return bitcast<f32>(word); }
fn codeOf(value: f32) -> u32 { return bitcast<u32>(value); }
#else
#if CACHE == bfloat16
const PER_WORD = 2u;
fn valueOf(word: u32, i: u32) -> f32 { return bitcast<f32>(select(word & 0xffff0000, word << 16, i == 0)); }
fn codeOf(value: f32) -> u32 {
  let word = bitcast<u32>(value);
  return select((word + 0x7fff + ((word >> 16) & 1)) >> 16, 0x7fc0u, (word & 0x7fffffff) > 0x7f800000);
}
#else
// The others: bits of a number and of its fraction, the bits of the least float32 with an implicit leading one there, the
// power of two from which on float32 has the distance of those without, and the largest number's code, which NaN follows.
#if CACHE == float16
const BITS = 16u;
const FRACTION = 10u;
const LEAST = 0x38800000u;
const COARSE = 0.5;
const MOST = 0x7bffu;
#endif
#if CACHE == fp8_e4m3
const BITS = 8u;
const FRACTION = 3u;
const LEAST = 0x3c800000u;
const COARSE = 16384.0;
const MOST = 0x7eu;
#endif
#if CACHE == fp8_e5m2
const BITS = 8u;
const FRACTION = 2u;
const LEAST = 0x38800000u;
const COARSE = 128.0;
const MOST = 0x7bu;
#endif
const PER_WORD = 32u / BITS;
const SIGN = 1u << (BITS - 1);
const SHIFT = 23u - FRACTION;
fn valueOf(word: u32, i: u32) -> f32 {
  let code = (word >> (BITS * i)) & (2 * SIGN - 1);
  let magnitude = code & (SIGN - 1);
  let normal = (magnitude << SHIFT) + LEAST - (1u << 23);
  let value = select(bitcast<f32>(normal), f32(magnitude) * (COARSE * 0x1p-23), magnitude < (1u << FRACTION));
  let number = select(value, -value, code >= SIGN);
  return bitcast<f32>(select(bitcast<u32>(number), 0x7fc00000u, magnitude > MOST));
}
fn codeOf(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let magnitude = bits & 0x7fffffff;
  let normal = ((magnitude + (1u << (SHIFT - 1)) - 1 + ((magnitude >> SHIFT) & 1)) >> SHIFT) + (1u << FRACTION) - (LEAST >> SHIFT);
  let subnormal = bitcast<u32>(abs(value) + COARSE) - bitcast<u32>(COARSE);
  let code = min(select(normal, subnormal, magnitude < LEAST), MOST);
  return select(code, SIGN - 1, magnitude > 0x7f800000) | ((bits >> 31) * SIGN);
}
#endif
#endif
