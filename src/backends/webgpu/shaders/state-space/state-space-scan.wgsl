// The state-space recurrence over packed sequences, token by token: one invocation per sequence, head and channel. This is
// the plain form: what is faster is tested against it.
//
//   Δ_t = clamp(softplus(dt_t + dtBias));  h_t = exp(A Δ_t) h_{t-1} + Δ_t x_t ⊗ B_t;  y_t = h_t C_t + D x_t
//
// x (T, H*P), B and C (T, G*N) lie in one buffer, xBC, with a common stride; dt (T, H or H*P); A, D, dtBias per head or
// more; sequences: see SequenceTable; states (S, H, P, N), in place → out (T, H*P). Padded sequences start from zero and
// leave no state. Sequences in slots outside of [firstSlot, firstSlot + slotCount) are another dispatch's.
// Grid: (H*P / 64, sequences).

const N = $N;

struct Params {
  T: u32,           // sequences
  H: u32,
  P: u32,
  headsPerGroup: u32,
  softplus: u32,
  dtLow: f32,
  dtHigh: f32,
  firstSlot: i32,
  slotCount: i32,
  xOffset: u32,
  bOffset: u32,
  cOffset: u32,
  rowStride: u32,   // of x, B and C
  dtOffset: u32,
  dtStride: u32,
  dtHead: u32,
  dtChannel: u32,
  aOffset: u32,
  aHead: u32,
  aChannel: u32,
  aState: u32,
  hasD: u32,
  dOffset: u32,
  dHead: u32,
  dChannel: u32,
  hasBias: u32,
  biasOffset: u32,
  biasHead: u32,
  biasChannel: u32,
  statesOffset: u32,
  statesStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<f32>;
@group(0) @binding(2) var<storage, read> dt: array<f32>;
@group(0) @binding(3) var<storage, read> A: array<f32>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
@group(0) @binding(6) var<storage, read> sequences: array<i32>;
@group(0) @binding(7) var<storage, read_write> states: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

#include "grid"
#include "activation"
#include "state-space"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  let b = rowOf(id);
  if (channel >= params.H * params.P || b >= params.T) { return; }
  let h = channel / params.P;
  let p = channel % params.P;
  let begin = u32(sequences[4 * b]);
  let end = u32(sequences[4 * b + 1]);
  var slot = sequences[4 * b + 2];
  if (begin == end) { return; }
  let isPadded = slot < 0;
  slot -= params.firstSlot;
  if (isPadded && params.firstSlot != 0) { return; }
  if (!isPadded && (slot < 0 || slot >= params.slotCount)) { return; }

  let state = params.statesOffset + u32(max(slot, 0)) * params.statesStride + channel * N;
  let group = h / params.headsPerGroup * N;
  var past: array<f32, N>;
  if (!isPadded && sequences[4 * b + 3] != 0) {
    for (var n = 0u; n < N; n++) { past[n] = states[state + n]; }
  }
  let skip = skipOf(h, p);
  for (var t = begin; t < end; t++) {
    let row = t * params.rowStride;
    let x = xBC[params.xOffset + row + channel];
    let delta = deltaOf(t, h, p);
    var y = 0.0;
    for (var n = 0u; n < N; n++) {
      past[n] = decayOf(h, p, n, delta) * past[n] + delta * x * xBC[params.bOffset + row + group + n];
      y += past[n] * xBC[params.cOffset + row + group + n];
    }
    out[params.outOffset + t * params.outStride + channel] = y + skip * x;
  }
  if (isPadded) { return; }
  for (var n = 0u; n < N; n++) { states[state + n] = past[n]; }
}
