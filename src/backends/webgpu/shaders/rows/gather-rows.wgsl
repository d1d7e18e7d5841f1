// out (R, C) = the rows of x (T, C) that rows (R) names. As bits, so that no value changes. Grid: (C / 64, R).

struct Params {
  T: u32,           // rows to gather
  C: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<i32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

#include "grid"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.C || t >= params.T) { return; }
  out[params.outOffset + t * params.outStride + c] = x[params.xOffset + u32(rows[t]) * params.xStride + c];
}
