// y = x Wᵀ + bias: one invocation per output, which sums over its inputs in ascending order.
//
// x (T, K), weight: rows of W (O, K) that lie in this buffer, packed as $DTYPE, bias (O) → out (T, O), columns from
// firstOutput on. Grid: (outputs / 64, T).

struct Params {
  T: u32,
  K: u32,
  outputs: u32,     // of this buffer
  firstOutput: u32,
  rowWords: u32,
  xOffset: u32,
  xStride: u32,
  hasBias: u32,
  biasOffset: u32,
  biasStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
#if BLOCKS
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
#else
@group(0) @binding(2) var<storage, read> weight: array<u32>;
#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

#include "grid"
#include "single-weight"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let o = id.x;
  let t = rowOf(id);
  if (o >= params.outputs || t >= params.T) { return; }
  var sum = 0.0;
  for (var k = 0u; k < params.K; k++) {
    sum += x[params.xOffset + t * params.xStride + k] * weightAt(o, k);
  }
  let column = params.firstOutput + o;
  if (params.hasBias == 1) { sum += bias[params.biasOffset + column * params.biasStride]; }
  out[params.outOffset + t * params.outStride + column] = sum;
}
