// Eight neighbouring weights of a row of int4 (see pack-weights.ts): a word, and the scale of their 32.
alias Packed = vec2u;
const BLOCKS = (8 * EIGHTS + 127) / 128;
fn loadEight(row: u32, eight: u32) -> Packed {
  let word = row * ROW_WORDS + eight;
  let header = row * ROW_WORDS + 16 * BLOCKS + eight / 16;
  let scales = weight[header / 4][header % 4];
  let factor = (scales >> (4 * ((eight / 4) & 3))) & 15;
  return vec2u(weight[word / 4][word % 4], bitcast<u32>(bitcast<f32>(scales & 0xffff0000) * f32(factor)));
}
fn widen(levels: vec4u, scale: u32) -> vec4f {
  return bitcast<f32>(scale) * vec4f(bitcast<vec4i>(levels) >> vec4u(28));
}
fn firstFour(packed: Packed) -> vec4f {
  return widen(vec4u(packed.x << 28, packed.x << 24, packed.x << 20, packed.x << 16), packed.y);
}
fn lastFour(packed: Packed) -> vec4f {
  return widen(vec4u(packed.x << 12, packed.x << 8, packed.x << 4, packed.x), packed.y);
}
