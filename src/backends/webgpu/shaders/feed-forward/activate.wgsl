// out = activation(x), or activation(gate) * x with HAS_GATE. All (T, C). Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  gateOffset: u32,
  gateStride: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#if HAS_GATE
@group(0) @binding(3) var<storage, read> gate: array<f32>;
#endif

#include "grid"
#include "mlp-activation"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.C || t >= params.T) { return; }
  let value = x[params.xOffset + t * params.xStride + c];
#if HAS_GATE
  let result = activate(gate[params.gateOffset + t * params.gateStride + c]) * value;
#else
  let result = activate(value);
#endif
  out[params.outOffset + t * params.outStride + c] = result;
}
