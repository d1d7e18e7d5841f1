// Codes of 4 bits, 128 weights a block: scale * (code - zero). The block's words are one for each group of GROUP weights, whose
// upper 24 bits are a float32 scale and whose lowest byte is the zero point, and 16 words of codes.
#include "block-words"
#include "block-nibbles"
const HEADERS = 128 / GROUP;
fn loadEight(row: u32, eight: u32) -> Packed {
  let block = row * ROW_WORDS + eight / 16 * (HEADERS + 16);
  let header = wordAt(block + eight % 16 * 8 / GROUP);
  let codes = nibblesAt(block + HEADERS, eight % 16);
  return Packed(codes, bitcast<f32>(header & 0xffffff00), f32(header & 0xff));
}
fn widen(codes: u32, scale: f32, zero: f32) -> vec4f { return scale * (vec4f(unpack4xU8(codes)) - zero); }
