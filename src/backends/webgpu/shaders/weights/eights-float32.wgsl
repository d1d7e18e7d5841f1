// Eight neighbouring weights of a row of float32.
alias Packed = array<vec4u, 2>;
fn loadEight(row: u32, eight: u32) -> Packed {
  let at = row * (ROW_WORDS / 4) + 2 * eight;
  return Packed(weight[at], weight[at + 1]);
}
fn firstFour(packed: Packed) -> vec4f { return bitcast<vec4f>(packed[0]); }
fn lastFour(packed: Packed) -> vec4f { return bitcast<vec4f>(packed[1]); }
