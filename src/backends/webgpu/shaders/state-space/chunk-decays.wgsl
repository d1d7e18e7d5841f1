// For the scan in chunks: step sizes and decay exponents, summed up within each chunk. One workgroup per chunk and head,
// one invocation per token.
//
//   Δ_t = clamp(softplus(dt_t + dtBias));  decay_t = Σ_{chunk begin <= s <= t} min(0, A Δ_s)
//
// dt (T, H), A and dtBias (H), sequences: see SequenceTable → steps: Δ as (H, T), then decay as (H, T), then
// the decay of whole chunks as (H, chunks).
// Grid: (H, chunks).

struct Params {
  T: u32,           // chunks
  H: u32,
  rows: u32,
  chunks0: u32,     // where the table of chunks begins
  softplus: u32,
  dtLow: f32,
  dtHigh: f32,
  dtOffset: u32,
  dtStride: u32,
  aOffset: u32,
  aHead: u32,
  hasBias: u32,
  biasOffset: u32,
  biasHead: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dt: array<f32>;
@group(0) @binding(2) var<storage, read> A: array<f32>;
@group(0) @binding(3) var<storage, read> dtBias: array<f32>;
@group(0) @binding(4) var<storage, read> sequences: array<i32>;
@group(0) @binding(5) var<storage, read_write> steps: array<f32>;

const CHUNK = ${CHUNK}u;
var<workgroup> sums: array<f32, CHUNK>;

#include "grid"
#include "activation"

@compute @workgroup_size(CHUNK)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let chunk = rowOf(group);
  if (chunk >= params.T) { return; }
  let h = group.x;
  let t = u32(sequences[params.chunks0 + 4 * chunk]) + i;
  let isInside = t < u32(sequences[params.chunks0 + 4 * chunk + 1]);
  var delta = 0.0;
  if (isInside) {
    var raw = dt[params.dtOffset + t * params.dtStride + h];
    if (params.hasBias == 1) { raw += dtBias[params.biasOffset + h * params.biasHead]; }
    if (params.softplus == 1) { raw = softplus(raw); }
    delta = min(params.dtHigh, max(params.dtLow, raw));
  }
  sums[i] = min(0.0, A[params.aOffset + h * params.aHead] * delta);
  workgroupBarrier();
  for (var distance = 1u; distance < CHUNK; distance *= 2) {
    var before = 0.0;
    if (i >= distance) { before = sums[i - distance]; }
    workgroupBarrier();
    sums[i] += before;
    workgroupBarrier();
  }
  if (!isInside) { return; }
  steps[h * params.rows + t] = delta;
  steps[(params.H + h) * params.rows + t] = sums[i];
  if (i == 0) { steps[2 * params.H * params.rows + h * params.T + chunk] = sums[CHUNK - 1]; }
}
