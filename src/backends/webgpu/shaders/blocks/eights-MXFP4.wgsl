// MXFP4, 32 weights a block: 2^(exponent - 127) * E2M1. A row has the codes of all blocks, then a byte of exponent each. The
// least exponent, 0, stands for the factor 0: what it makes is less than 4e-38.
#include "block-words"
#include "block-bytes"
#include "block-nibbles"
#include "e2m1"
fn loadEight(row: u32, eight: u32) -> Packed {
  let begin = row * ROW_WORDS;
  return Packed(nibblesAt(begin, eight), bitcast<f32>(byteAt(begin + EIGHTS, eight / 4) << 23), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * e2m1(codes); }
