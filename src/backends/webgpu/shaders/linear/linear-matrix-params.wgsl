#include "matrix-features"

// What the products by subgroup matrices are given, whatever the number of rows; `a`, the rows, is at binding 1.
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

@group(0) @binding(0) var<uniform> params: Params;
const fixed = Fixed();
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
#if BIAS
@group(0) @binding(5) var<storage, read> bias: array<f32>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<vec4f>;
#endif
#if CONV
@group(0) @binding(5) var<storage, read> convWeight: array<vec4f>;
@group(0) @binding(6) var<storage, read> convBias: array<f32>;
@group(0) @binding(7) var<storage, read> slots: array<i32>;
@group(0) @binding(8) var<storage, read_write> convStates: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> convolved: array<vec4f>;
#endif

const OUTPUTS = ${OUTPUTS}u;         // of this buffer

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;
