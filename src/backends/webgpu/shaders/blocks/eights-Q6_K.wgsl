// Q6_K, 256 weights a block: d * scale * (code - 32), with a signed scale of 8 bits for 16 weights. A row has 52 words for each
// block (32 of the codes' lower 4 bits, 16 of their upper 2, and the scales), then a float16 d each. Of each half of a block,
// lower halves of bytes are the first 64 weights, upper halves the last; bytes of upper bits have 2 for each 32 weights.
#include "block-words"
#include "block-bytes"
#include "block-float16"
fn loadEight(row: u32, eight: u32) -> Packed {
  let begin = row * ROW_WORDS;
  let block = begin + eight / 32 * 52;
  let half = eight / 16 % 2;
  let quarter = eight / 4 % 4;
  let within = eight % 4 * 2;
  let lower = pairAt(block + half * 16 + quarter % 2 * 8 + within) >> vec2u(quarter / 2 * 4);
  let upper = pairAt(block + 32 + half * 8 + within) >> vec2u(quarter * 2);
  let codes = (lower & vec2u(0x0f0f0f0f)) | ((upper & vec2u(0x03030303)) << vec2u(4));
  let scale = unpack4xI8(byteAt(block + 48, eight % 32 / 2)).x;
  return Packed(codes, float16At(begin + EIGHTS / 32 * 52, eight / 32) * f32(scale), 0);
}
fn widen(codes: u32, scale: f32, other: f32) -> vec4f { return scale * (vec4f(unpack4xU8(codes)) - 32); }
