// Q5_K, 256 weights a block in 8 parts: d * scale * code - dmin * minimum. The block's words are its scales (see k-scales.wgsl),
// 8 words of the codes' highest bits, whose bytes have one bit of each part, and 32 words as in Q4_K.
#include "block-words"
#include "block-float16"
#include "k-scales"
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 32 * 44;
  let part = eight % 32 / 4;
  let scales = partScales(weight[block / 4], part);
  let within = eight % 4 * 2;
  let codes = (pairAt(block + 12 + part / 2 * 8 + within) >> vec2u(part % 2 * 4)) & vec2u(0x0f0f0f0f);
  let highest = (pairAt(block + 4 + within) >> vec2u(part)) & vec2u(0x01010101);
  return Packed(codes | (highest << vec2u(4)), scales.scale, scales.minimum);
}
fn widen(codes: u32, scale: f32, minimum: f32) -> vec4f { return scale * vec4f(unpack4xU8(codes)) - minimum; }
