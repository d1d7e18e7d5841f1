// Q4_0, 32 weights a block: scale * (code - 8). A row has the codes of all blocks, then a float16 scale each.
#include "block-words"
#include "block-nibbles"
#include "block-float16"
fn loadEight(row: u32, eight: u32) -> Packed {
  let begin = row * ROW_WORDS;
  return Packed(nibblesAt(begin, eight), float16At(begin + EIGHTS, eight / 4), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * (vec4f(unpack4xU8(codes)) - 8); }
