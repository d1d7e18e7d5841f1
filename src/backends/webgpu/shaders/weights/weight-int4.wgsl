// Weights as levels of 4 bits, eight a word, then one word per block of 128 weights: a bfloat16 scale, and below it
// a whole factor for each 32 weights: see pack-weights.ts.
fn weightAt(row: u32, k: u32) -> f32 {
  let begin = row * params.rowWords;
  let blocks = (params.K + 127) / 128;
  let header = weight[begin + 16 * blocks + k / 128];
  let scale = bitcast<f32>(header & 0xffff0000);
  let factor = (header >> (4 * ((k / 32) & 3))) & 15;
  let q = bitcast<i32>(weight[begin + k / 8] << (28 - 4 * (k & 7))) >> 28;
  return scale * f32(q * i32(factor));
}
