// One step of the state-space recurrence: one invocation per row, head and channel.
//
//   Δ = clamp(softplus(dt + dtBias));  h = exp(A Δ) h + Δ x ⊗ B;  y = h C + D x
//
// x (rows, H*P), B and C (rows, G*N) lie in one buffer, xBC, with a common stride; dt (rows, H or H*P); A, D, dtBias per
// head or more; slots (rows); states (S, H, P, N), in place → out (rows, H*P). Padded rows read zeros and write no state.
// Rows in slots outside of [firstSlot, firstSlot + slotCount) are another dispatch's. Grid: (H*P / 64, rows).

struct Params {
  T: u32,           // rows
  N: u32,
  hasSlots: u32,    // otherwise row b has slot b
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
@group(0) @binding(6) var<storage, read> slots: array<i32>;
@group(0) @binding(7) var<storage, read_write> states: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

#include "grid"
#include "activation"
#include "state-space"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  let t = rowOf(id);
  if (channel >= params.H * params.P || t >= params.T) { return; }
  let h = channel / params.P;
  let p = channel % params.P;
  var slot = i32(t);
  if (params.hasSlots == 1) { slot = slots[t]; }
  let isPadded = slot < 0;
  slot -= params.firstSlot;
  if (isPadded && params.firstSlot != 0) { return; }
  if (!isPadded && (slot < 0 || slot >= params.slotCount)) { return; }

  let row = t * params.rowStride;
  let x = xBC[params.xOffset + row + channel];
  let group = row + h / params.headsPerGroup * params.N;
  let delta = deltaOf(t, h, p);
  let state = params.statesOffset + u32(max(slot, 0)) * params.statesStride + channel * params.N;
  var y = 0.0;
  for (var n = 0u; n < params.N; n++) {
    var value = delta * x * xBC[params.bOffset + group + n];
    if (!isPadded) {
      value += decayOf(h, p, n, delta) * states[state + n];
      states[state + n] = value;
    }
    y += value * xBC[params.cOffset + group + n];
  }
  out[params.outOffset + t * params.outStride + channel] = y + skipOf(h, p) * x;
}
