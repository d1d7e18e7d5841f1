// States of 16 bits: a word has two neighbours of a row, the first in its lower half. STATES is their dtype. With RANDOM
// they are rounded by random bits, see RandomBits in src/tensor/state-dtype.ts, otherwise to the nearest. float16
// saturates; NaN, which bits tell more surely than comparisons, stays NaN.
#if STATES == float16
fn stateOf(half: u32) -> f32 {
  let magnitude = half & 0x7fff;
  // The largest exponent, NaN's, stays the largest.
  let v = bitcast<f32>((magnitude << 13) + select(0x38000000u, 0x70000000u, magnitude >= 0x7c00));
  let value = select(v, v + v - 6.103515625e-5, magnitude < 0x400);
  return select(value, -value, half > 0x7fff);
}
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
#endif
#if STATES == bfloat16
fn stateOf(half: u32) -> f32 { return bitcast<f32>(half << 16); }
fn halfOf(value: f32, bits: u32) -> u32 {
  let word = bitcast<u32>(value);
#if RANDOM
  let half = (word + (bits >> 16)) >> 16;
#else
  let half = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
#endif
  return select(half, 0x7fc0u, (word & 0x7fffffff) > 0x7f800000);
}
#endif

fn statesOf(word: u32) -> vec2f { return vec2f(stateOf(word & 0xffff), stateOf(word >> 16)); }
fn wordOf(values: vec2f, bits: vec2u) -> u32 { return halfOf(values.x, bits.x) | (halfOf(values.y, bits.y) << 16); }

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
