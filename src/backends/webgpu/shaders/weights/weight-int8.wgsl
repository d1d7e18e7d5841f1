// Weights as int8, four a word, then one float32 scale per block of 128: see pack-weights.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  let begin = row * params.rowWords;
  let blocks = (params.K + 127) / 128;
  let scale = bitcast<f32>(weight[begin + 32 * blocks + k / 128]);
  let q = bitcast<i32>(weight[begin + k / 4] << (24 - 8 * (k & 3))) >> 24;
  return scale * f32(q);
}
