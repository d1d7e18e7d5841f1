// Weights as bfloat16, two a word, the first in the lower half: see pack-weights.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  let word = weight[row * params.rowWords + k / 2];
  return bitcast<f32>(select(word << 16, word & 0xffff0000, (k & 1) == 1));
}
