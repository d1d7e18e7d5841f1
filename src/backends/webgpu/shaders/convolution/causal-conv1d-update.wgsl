// The convolution of causal-conv1d-fn for the next L tokens of sequences that are in the cache: one invocation per sequence
// and channel.
//
// x (B, L, C), weight (C, K), bias (C), slots (B), seen (B) → out (B, L, C), states (S, C, W) in place: shifted, newest
// last, or with `isRing` a ring in which token n lies at n mod W. Padded rows pass through. Rows in slots outside of
// [firstSlot, firstSlot + slotCount) are another dispatch's. Grid: (C / 64, B).

struct Params {
  T: u32,           // sequences
  L: u32,
  hasSlots: u32,    // otherwise sequence b has slot b
  isRing: u32,
#include "causal-conv1d-places"
}

@group(0) @binding(5) var<storage, read> slots: array<i32>;
@group(0) @binding(6) var<storage, read> seen: array<i32>;
@group(0) @binding(7) var<storage, read_write> states: array<f32>;

#include "causal-conv1d"

fn element(b: u32, c: u32) {
  var slot = i32(b);
  if (params.hasSlots == 1) { slot = slots[b]; }
  let input = params.xOffset + b * params.xStride + c;
  let output = params.outOffset + b * params.outStride + c;
  if (isElsewhere(slot)) { return; }
  if (slot < 0) {
    for (var i = 0u; i < params.L; i++) { out[output + i * params.C] = x[input + i * params.C]; }
    return;
  }
  let state = params.statesOffset + rowOfSlot(slot) * params.statesStride + c * params.W;
  let taps = params.weightOffset + c * params.weightStride;
  // The oldest entry's place.
  var head = 0u;
  if (params.isRing == 1 && params.W > 0) { head = u32(seen[b]) % params.W; }
  for (var i = 0u; i < params.L; i++) {
    let newest = x[input + i * params.C];
    var sum = biasOf(c);
    for (var w = 0u; w + 1 < params.K; w++) {
      let age = params.W - (params.K - 1) + w;
      sum += weight[taps + w] * states[state + (head + age) % params.W];
    }
    sum += weight[taps + params.K - 1] * newest;
    out[output + i * params.C] = activated(sum);
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
