// v / sqrt(squareSums / groupSize + eps) * weight with each column's group.
// v (T, C), squareSums (T, groups) over the whole row, weight (C) → out (T, C). Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  firstColumn: u32,
  groupSize: u32,
  eps: f32,
  vOffset: u32,
  vStride: u32,
  sumsOffset: u32,
  sumsStride: u32,
  weightOffset: u32,
  weightStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> squareSums: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

#include "element"

fn element(t: u32, c: u32) {
  let g = (params.firstColumn + c) / params.groupSize;
  let meanSquare = squareSums[params.sumsOffset + t * params.sumsStride + g] / f32(params.groupSize);
  let scaled = v[params.vOffset + t * params.vStride + c] / sqrt(meanSquare + params.eps);
  out[params.outOffset + t * params.outStride + c] = scaled * weight[params.weightOffset + c * params.weightStride];
}
