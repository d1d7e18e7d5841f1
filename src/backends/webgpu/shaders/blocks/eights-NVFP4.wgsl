// NVFP4, 128 weights a block: factor * (scale * E2M1). The block's words are the float32 factor, 8 scales of E4M3 for 16 weights
// each, and 16 words of codes.
#include "block-words"
#include "block-bytes"
#include "block-nibbles"
#include "e2m1"
#include "e4m3"
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 16 * 19;
  let scale = e4m3(byteAt(block + 1, eight % 16 / 2)).x;
  return Packed(nibblesAt(block + 3, eight % 16), floatAt(block), scale);
}
fn widen(codes: u32, factor: f32, scale: f32) -> vec4f { return factor * (scale * e2m1(codes)); }
