// States of 16 bits: a word has two neighbours of a row, the first in its lower half. STATES is their dtype. With RANDOM
// they are rounded by random bits, see RandomBits in src/tensor/state-dtype.ts, otherwise to the nearest. float16
// saturates; NaN, which bits tell more surely than comparisons, stays NaN. NATIVE_WIDENING and NATIVE_ROUNDING: WGSL's
// conversions are exact here, see device/float16-conversions.ts.
#if STATES == float16
#if NATIVE_WIDENING
fn statesOf(word: u32) -> vec2f { return unpack2x16float(word); }
fn stateOf(half: u32) -> f32 { return statesOf(half).x; }
#else
fn stateOf(half: u32) -> f32 {
  let magnitude = half & 0x7fff;
  // The largest exponent, NaN's, stays the largest.
  let v = bitcast<f32>((magnitude << 13) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00));
  let value = select(v, v + v - 6.103515625e-5, magnitude < 0x400);
  return select(value, -value, half > 0x7fff);
}
fn statesOf(word: u32) -> vec2f { return vec2f(stateOf(word & 0xffff), stateOf(word >> 16)); }
#endif
#if NATIVE_ROUNDING
fn wordOf(values: vec2f, bits: vec2u) -> u32 {
  let word = pack2x16float(values);
  // The highest bit of each half tells that it is no infinity. Infinities become the number before them.
  let finite = ((word & 0x7fff7fff) ^ 0x7c007c00) + 0x7fff7fff;
  return word - ((~finite & 0x80008000) >> 15);
}
fn halfOf(value: f32, bits: u32) -> u32 { return wordOf(vec2f(value, 0), vec2u()); }
#else
fn halfOf(value: f32, bits: u32) -> u32 {
  let magnitude = bitcast<u32>(value) & 0x7fffffff;
  let isNegative = bitcast<u32>(value) > 0x7fffffff;
#if RANDOM
  let share = bits ^ select(0x80000000u, 0x7fffffffu, isNegative);
  let normal = (magnitude + (share >> 19) - 0x38000000) >> 13;
  // A sum that float32 holds exactly, so that what float16 has stays.
  let subnormal = u32(floor(abs(value) * 16777216.0 + f32(share >> 19) * 0.0001220703125));
#else
  let normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  let subnormal = u32(round(abs(value) * 16777216.0));
#endif
  let half = min(select(normal, subnormal, magnitude < 0x38800000), 0x7bff) | select(0u, 0x8000u, isNegative);
  return select(half, 0x7e00u, magnitude > 0x7f800000);
}
fn wordOf(values: vec2f, bits: vec2u) -> u32 { return halfOf(values.x, bits.x) | (halfOf(values.y, bits.y) << 16); }
#endif
#endif
#if STATES == bfloat16
fn stateOf(half: u32) -> f32 { return bitcast<f32>(half << 16); }
fn statesOf(word: u32) -> vec2f { return vec2f(bitcast<f32>(word << 16), bitcast<f32>(word & 0xffff0000)); }
// The upper half is the state.
fn roundedWord(value: f32, bits: u32) -> u32 {
  let word = bitcast<u32>(value);
#if RANDOM
  let sum = word + (bits >> 16);
#else
  let sum = word + 0x7fff + ((word >> 16) & 1);
#endif
  return select(sum, 0x7fc00000u, (word & 0x7fffffff) > 0x7f800000);
}
fn halfOf(value: f32, bits: u32) -> u32 { return roundedWord(value, bits) >> 16; }
fn wordOf(values: vec2f, bits: vec2u) -> u32 {
  return (roundedWord(values.x, bits.x) >> 16) | (roundedWord(values.y, bits.y) & 0xffff0000);
}
#endif

#if RANDOM
fn mixed(word: u32) -> u32 {
  var h = (word ^ (word >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}
fn tokenBits(key: u32, position: u32) -> u32 { return mixed(key + position * 0x9e3779b1); }
fn bitsOf(token: u32, row: u32, column: u32) -> u32 {
  return (mixed(token + row * 0x85ebca6b) | 1) * (mixed(column + 0xc2b2ae35) | 1);
}
#else
fn bitsOf(token: u32, row: u32, column: u32) -> u32 { return 0; }
#endif
