// The state-space recurrence over packed sequences, token by token: one invocation per sequence, head and channel. This is
// the plain form: what is faster is tested against it.
//
//   Δ_t = clamp(softplus(dt_t + dtBias));  h_t = exp(A Δ_t) h_{t-1} + Δ_t x_t ⊗ B_t;  y_t = h_t C_t + D x_t
//
// x (T, H*P), B and C (T, G*N) lie in one buffer, xBC, with a common stride; dt (T, H or H*P); A, D, dtBias per head or
// more; sequences: see SequenceTable; states (S, H, P, N), in place → out (T, H*P). Padded sequences start from zero and
// leave no state. States of 16 bits lie two in a word and are rounded after every token. Sequences in slots outside of
// [firstSlot, firstSlot + slotCount) are another dispatch's.
// Grid: (H*P / 64, sequences).

const N = $N;
#if STATES == float32
const WORDS = N;
#else
const WORDS = (N + 1) / 2;
#endif

struct Params {
  T: u32,           // sequences
  keepState: u32,   // 0: the slots stay as they are
  positions0: u32,  // where the positions of the sequences' first tokens begin in their table
#include "state-space-places"
}

@group(0) @binding(6) var<storage, read> sequences: array<i32>;

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
  if (isElsewhere(slot)) { return; }
  let isPadded = slot < 0;

  let state = params.statesOffset + rowOfSlot(slot) * params.statesStride + channel * WORDS;
  let group = h / params.headsPerGroup * N;
  var past: array<f32, N>;
  if (!isPadded && sequences[4 * b + 3] != 0) {
#if STATES == float32
    for (var n = 0u; n < N; n++) { past[n] = states[state + n]; }
#else
    for (var n = 0u; n < N; n++) { past[n] = statesOf(states[state + n / 2])[n % 2]; }
#endif
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
#if STATES == float32
#else
#if RANDOM
    let token = tokenBits(params.key, u32(sequences[params.positions0 + b]) + t - begin);
#else
    let token = 0u;
#endif
    for (var n = 0u; n < N; n++) { past[n] = stateOf(halfOf(past[n], bitsOf(token, params.firstRow + channel, n))); }
#endif
    out[params.outOffset + t * params.outStride + channel] = y + skip * x;
  }
  if (isPadded || params.keepState == 0) { return; }
#if STATES == float32
  for (var n = 0u; n < N; n++) { states[state + n] = past[n]; }
#else
  // What is rounded already is nearest to itself, and random bits can't take it elsewhere.
  for (var w = 0u; w < WORDS; w++) {
    var values = vec2f(past[2 * w], 0);
    if (2 * w + 1 < N) { values.y = past[2 * w + 1]; }
    states[state + w] = wordOf(values, vec2u());
  }
#endif
}
