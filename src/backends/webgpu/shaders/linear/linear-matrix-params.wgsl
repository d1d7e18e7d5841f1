// What the products by subgroup matrices are told, whatever the number of rows.
struct Params {
  T: u32,
}
struct Fixed {
  firstOutput: u32,
  outOffset: u32,
  outStride: u32,
#if BIAS
  biasOffset: u32,
#endif
#if RESIDUAL
  residualOffset: u32,
  residualStride: u32,
#endif
#if CONV
  convBegin: u32,
#include "convolution-places"
#endif
#if NORM
  xOffset: u32,
  xStride: u32,
  normOffset: u32,
  eps: f32,
#endif
}
