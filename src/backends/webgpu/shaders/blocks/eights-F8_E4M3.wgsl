// F8_E4M3, 128 weights a block: scale * E4M3. The block's words are the float32 scale and 32 words of codes.
#include "block-words"
#include "e4m3"
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 16 * 33;
  return Packed(pairAt(block + 1 + eight % 16 * 2), floatAt(block), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * e4m3(codes); }
