// The convolution of causal-conv1d-fn for the next L tokens of sequences that are in the cache: one invocation per sequence
// and channel.
//
// x (B, L, C), weight (C, K), bias (C), slots (B), seen (B) → out (B, L, C), states (S, C, W) in place: shifted, newest
// last, or with `isRing` a ring in which token n lies at n mod W. Padded rows pass through. Rows in slots outside of
// [firstSlot, firstSlot + slots) are another dispatch's. Grid: (C / 64, B).

struct Params {
  T: u32,           // sequences
  C: u32,
  L: u32,
  K: u32,
  W: u32,
  silu: u32,
  hasBias: u32,
  hasSlots: u32,    // otherwise sequence b has slot b
  isRing: u32,
  firstSlot: i32,
  slotCount: i32,
  xOffset: u32,
  xStride: u32,
  weightOffset: u32,
  weightStride: u32,
  biasOffset: u32,
  biasStride: u32,
  statesOffset: u32,
  statesStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> slots: array<i32>;
@group(0) @binding(5) var<storage, read> seen: array<i32>;
@group(0) @binding(6) var<storage, read_write> states: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

#include "grid"
#include "activation"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let b = rowOf(id);
  if (c >= params.C || b >= params.T) { return; }
  var slot = i32(b);
  if (params.hasSlots == 1) { slot = slots[b]; }
  let input = params.xOffset + b * params.xStride + c;
  let output = params.outOffset + b * params.outStride + c;
  if (slot < 0) {
    if (params.firstSlot == 0) {
      for (var i = 0u; i < params.L; i++) { out[output + i * params.C] = x[input + i * params.C]; }
    }
    return;
  }
  slot -= params.firstSlot;
  if (slot < 0 || slot >= params.slotCount) { return; }
  let state = params.statesOffset + u32(slot) * params.statesStride + c * params.W;
  let taps = params.weightOffset + c * params.weightStride;
  // The oldest entry's place.
  var head = 0u;
  if (params.isRing == 1 && params.W > 0) { head = u32(seen[b]) % params.W; }
  for (var i = 0u; i < params.L; i++) {
    let newest = x[input + i * params.C];
    var sum = 0.0;
    if (params.hasBias == 1) { sum = bias[params.biasOffset + c * params.biasStride]; }
    for (var w = 0u; w + 1 < params.K; w++) {
      let age = params.W - (params.K - 1) + w;
      sum += weight[taps + w] * states[state + (head + age) % params.W];
    }
    sum += weight[taps + params.K - 1] * newest;
    out[output + i * params.C] = select(sum, silu(sum), params.silu == 1);
    if (params.W == 0) { continue; }
    if (params.isRing == 1) {
      states[state + head] = newest;
      head = (head + 1) % params.W;
    } else {
      for (var w = 1u; w < params.W; w++) { states[state + w - 1] = states[state + w]; }
      states[state + params.W - 1] = newest;
    }
  }
}
