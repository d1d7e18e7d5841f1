// One step of the state-space recurrence: one invocation per row, head and channel.
//
//   Δ = clamp(softplus(dt + dtBias));  h = exp(A Δ) h + Δ x ⊗ B;  y = h C + D x
//
// x (rows, H*P), B and C (rows, G*N) lie in one buffer, xBC, with a common stride; dt (rows, H or H*P); A, D, dtBias per
// head or more; slots (rows); states (S, H, P, N), in place → out (rows, H*P). Padded rows read zeros and write no state.
// States of 16 bits lie two in a word; with RANDOM the positions of the tokens follow the slots.
// Rows in slots outside of [firstSlot, firstSlot + slotCount) are another dispatch's. Grid: (H*P / 64, rows).

struct Params {
  T: u32,           // rows
  N: u32,
  hasSlots: u32,    // otherwise row b has slot b
#include "state-space-places"
}

@group(0) @binding(6) var<storage, read> slots: array<i32>;

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
  if (isElsewhere(slot)) { return; }
  let isPadded = slot < 0;

  let row = t * params.rowStride;
  let x = xBC[params.xOffset + row + channel];
  let group = row + h / params.headsPerGroup * params.N;
  let delta = deltaOf(t, h, p);
  var y = 0.0;
#if STATES == float32
  let state = params.statesOffset + rowOfSlot(slot) * params.statesStride + channel * params.N;
  for (var n = 0u; n < params.N; n++) {
    var value = delta * x * xBC[params.bOffset + group + n];
    if (!isPadded) {
      value += decayOf(h, p, n, delta) * states[state + n];
      states[state + n] = value;
    }
    y += value * xBC[params.cOffset + group + n];
  }
#else
  let words = (params.N + 1) / 2;
  let state = params.statesOffset + rowOfSlot(slot) * params.statesStride + channel * words;
#if RANDOM
  let token = tokenBits(params.key, u32(slots[params.T + t]));
#else
  let token = 0u;
#endif
  for (var w = 0u; w < words; w++) {
    var values = vec2f();
    if (!isPadded) { values = statesOf(states[state + w]); }
    for (var i = 0u; i < min(2u, params.N - 2 * w); i++) {
      let n = 2 * w + i;
      values[i] = decayOf(h, p, n, delta) * values[i] + delta * x * xBC[params.bOffset + group + n];
      y += values[i] * xBC[params.cOffset + group + n];
    }
    if (!isPadded) {
      let rounded = params.firstRow + channel;
      states[state + w] = wordOf(values, vec2u(bitsOf(token, rounded, 2 * w), bitsOf(token, rounded, 2 * w + 1)));
    }
  }
#endif
  out[params.outOffset + t * params.outStride + channel] = y + skipOf(h, p) * x;
}
