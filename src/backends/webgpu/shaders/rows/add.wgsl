// out = x + y, all (T, C).
// Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  xOffset: u32,
  xStride: u32,
  yOffset: u32,
  yStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "grid"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.C || t >= params.T) { return; }
  let a = x[params.xOffset + t * params.xStride + c];
  let b = y[params.yOffset + t * params.yStride + c];
  out[params.outOffset + t * params.outStride + c] = a + b;
}
