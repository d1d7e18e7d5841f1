// Weights as float16 in tiles: see weight-tiles.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  let tile = row / 16 * (params.rowWords / 8) + k / 16;
  return unpack2x16float(weight[tile * 128 + row % 16 * 8 + k % 16 / 2])[k & 1];
}
