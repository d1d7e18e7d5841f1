// Eight neighbouring weights of a row of bfloat16, two a word: a bfloat16 is the upper half of a float32.
alias Packed = vec4u;
fn loadEight(row: u32, eight: u32) -> Packed { return weight[row * (ROW_WORDS / 4) + eight]; }
fn widen(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16, words.x & 0xffff0000, words.y << 16, words.y & 0xffff0000));
}
fn firstFour(packed: Packed) -> vec4f { return widen(packed.xy); }
fn lastFour(packed: Packed) -> vec4f { return widen(packed.zw); }
