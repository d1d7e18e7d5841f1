// Eight neighbouring weights of a row of int8 (see pack-weights.ts): two words, and their block's scale.
alias Packed = vec3u;
const BLOCKS = (8 * EIGHTS + 127) / 128;
fn loadEight(row: u32, eight: u32) -> Packed {
  let begin = row * ROW_WORDS;
  let words = weight[(begin + 2 * eight) / 4];
  let scale = begin + 32 * BLOCKS + eight / 16;
  return vec3u(select(words.xy, words.zw, eight % 2 == 1), weight[scale / 4][scale % 4]);
}
fn widen(word: u32, scale: u32) -> vec4f { return bitcast<f32>(scale) * vec4f(unpack4xI8(word)); }
fn firstFour(packed: Packed) -> vec4f { return widen(packed.x, packed.z); }
fn lastFour(packed: Packed) -> vec4f { return widen(packed.y, packed.z); }
