// x / sqrt(squareSums / count + eps), per row. x (T, C), squareSums (T, 1) → out (T, C). Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  count: f32,
  eps: f32,
  xOffset: u32,
  xStride: u32,
  sumsOffset: u32,
  sumsStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> squareSums: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "element"

fn element(t: u32, c: u32) {
  let root = sqrt(squareSums[params.sumsOffset + t * params.sumsStride] / params.count + params.eps);
  out[params.outOffset + t * params.outStride + c] = x[params.xOffset + t * params.xStride + c] / root;
}
