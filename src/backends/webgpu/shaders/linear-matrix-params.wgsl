// What the products by subgroup matrices are told, whatever the number of rows. From convBegin on: used with CONV
// only; from xOffset on: with NORM only.
struct Params {
  T: u32,
  firstOutput: u32,
  outOffset: u32,
  outStride: u32,
  biasOffset: u32,
  residualOffset: u32,
  residualStride: u32,
  convBegin: u32,
  C: u32,
  silu: u32,
  statesOffset: u32,
  statesStride: u32,
  convWeightOffset: u32,
  convBiasOffset: u32,
  convolvedOffset: u32,
  convolvedStride: u32,
  xOffset: u32,
  xStride: u32,
  normOffset: u32,
  eps: f32,
}
