// Weights as float32, one a word: see pack-weights.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  return bitcast<f32>(weight[row * params.rowWords + k]);
}
