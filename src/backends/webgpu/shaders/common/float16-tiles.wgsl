// Where eight neighbouring inputs of row t lie among rows of float16 in tiles: 16 rows and 16 columns, one row of a tile
// after another, tiles of the same 16 rows side by side. EIGHTS: inputs of a row, divided by eight.
fn eightOf(t: u32, eight: u32) -> u32 {
  return (t / 16 * (EIGHTS / 2) + eight / 2) * 32 + t % 16 * 2 + eight % 2;
}

#include "halves"
