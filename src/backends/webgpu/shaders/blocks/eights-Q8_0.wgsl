// Q8_0, 32 weights a block: scale * code, with signed codes. A row has the codes of all blocks, then a float16 scale each.
#include "block-words"
#include "block-float16"
fn loadEight(row: u32, eight: u32) -> Packed {
  let begin = row * ROW_WORDS;
  return Packed(pairAt(begin + 2 * eight), float16At(begin + 2 * EIGHTS, eight / 4), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * vec4f(unpack4xI8(codes)); }
