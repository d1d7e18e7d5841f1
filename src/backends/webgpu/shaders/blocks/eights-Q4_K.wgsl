// Q4_K, 256 weights a block in 8 parts: d * scale * code - dmin * minimum. The block's words are its scales (see k-scales.wgsl)
// and 32 words of codes; lower halves of 32 bytes are one part, upper halves the next.
#include "block-words"
#include "block-float16"
#include "k-scales"
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 32 * 36;
  let part = eight % 32 / 4;
  let scales = partScales(weight[block / 4], part);
  let codes = pairAt(block + 4 + part / 2 * 8 + eight % 4 * 2) >> vec2u(part % 2 * 4);
  return Packed(codes & vec2u(0x0f0f0f0f), scales.scale, scales.minimum);
}
fn widen(codes: u32, scale: f32, minimum: f32) -> vec4f { return scale * vec4f(unpack4xU8(codes)) - minimum; }
