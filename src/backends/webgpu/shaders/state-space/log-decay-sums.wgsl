// Per sequence and head, Σ_t min(A Δ_t, 0) over its tokens: one invocation each, which sums in their order.
//
// dt (T, H), A and dtBias (H), with HAS_SEQUENCES sequences: see SequenceTable, otherwise every row is one
// → out (sequences, H). Grid: (H / 64, sequences).

struct Params {
  T: u32,           // sequences
  H: u32,
  softplus: u32,
  dtLow: f32,
  dtHigh: f32,
  hasBias: u32,
  dtOffset: u32,
  dtStride: u32,
  aOffset: u32,
  aStride: u32,
  biasOffset: u32,
  biasStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dt: array<f32>;
@group(0) @binding(2) var<storage, read> A: array<f32>;
@group(0) @binding(3) var<storage, read> dtBias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
#if HAS_SEQUENCES
@group(0) @binding(5) var<storage, read> sequences: array<i32>;
#endif

#include "grid"
#include "activation"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let h = id.x;
  let b = rowOf(id);
  if (h >= params.H || b >= params.T) { return; }
#if HAS_SEQUENCES
  let begin = u32(sequences[4 * b]);
  let end = u32(sequences[4 * b + 1]);
#else
  let begin = b;
  let end = b + 1;
#endif
  let rate = A[params.aOffset + h * params.aStride];
  var sum = 0.0;
  for (var t = begin; t < end; t++) {
    var raw = dt[params.dtOffset + t * params.dtStride + h];
    if (params.hasBias == 1) { raw += dtBias[params.biasOffset + h * params.biasStride]; }
    if (params.softplus == 1) { raw = softplus(raw); }
    sum += min(0.0, rate * min(params.dtHigh, max(params.dtLow, raw)));
  }
  out[params.outOffset + b * params.outStride + h] = sum;
}
