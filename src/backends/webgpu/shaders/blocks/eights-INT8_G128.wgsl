// INT8_G128, 128 weights a block: scale * code. The block's words are the float32 scale and 32 words of signed codes.
#include "block-words"
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 16 * 33;
  return Packed(pairAt(block + 1 + eight % 16 * 2), floatAt(block), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * vec4f(unpack4xI8(codes)); }
