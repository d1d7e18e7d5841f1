// Weights as float16, two a word, the first in the lower half: see pack-weights.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  return unpack2x16float(weight[row * params.rowWords + k / 2])[k & 1];
}
