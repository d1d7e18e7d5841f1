// x / sqrt(mean(x²) + eps) * weight: one workgroup per row. x (T, C), weight (C) → out (T, C). Grid: (1, T).

struct Params {
  T: u32,
  C: u32,
  eps: f32,
  xOffset: u32,
  xStride: u32,
  weightOffset: u32,
  weightStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "grid"
#include "row-sum"

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let t = rowOf(group);
  if (t >= params.T) { return; }
  let row = params.xOffset + t * params.xStride;
  var squares = 0.0;
  for (var c = i; c < params.C; c += $THREADS) { squares += x[row + c] * x[row + c]; }
  let root = sqrt(sumOfWorkgroup(squares, i) / f32(params.C) + params.eps);
  for (var c = i; c < params.C; c += $THREADS) {
    let w = weight[params.weightOffset + c * params.weightStride];
    out[params.outOffset + t * params.outStride + c] = x[row + c] / root * w;
  }
}
