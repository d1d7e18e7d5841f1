// Eight neighbouring weights of float16, two a word: of a row, or of a tile (see weight-tiles.ts).
alias Packed = vec4u;
#if TILES
fn loadEight(row: u32, eight: u32) -> Packed {
  return weight[(row / 16 * (ROW_WORDS / 8) + eight / 2) * 32 + row % 16 * 2 + eight % 2];
}
#else
fn loadEight(row: u32, eight: u32) -> Packed { return weight[row * (ROW_WORDS / 4) + eight]; }
#endif
fn firstFour(packed: Packed) -> vec4f { return vec4f(unpack2x16float(packed.x), unpack2x16float(packed.y)); }
fn lastFour(packed: Packed) -> vec4f { return vec4f(unpack2x16float(packed.z), unpack2x16float(packed.w)); }
