// Causal depthwise convolution over packed sequences: one invocation per token and channel.
//
//   out[t] = activation(bias + Σ_w weight[w] * xx[t + w]),  xx = [past K-1 inputs | the sequence's inputs]
//
// x (T, C), weight (C, K), bias (C), states (S, C, W) with the past of sequences that have one, sequences: see
// SequenceTable → out (T, C). Padded sequences pass through. The states are brought up to date by causal-conv1d-states,
// after this. Sequences in slots outside of [firstSlot, firstSlot + slots) are another dispatch's. Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  K: u32,
  W: u32,
  count: u32,       // of sequences
  silu: u32,
  hasBias: u32,
  firstSlot: i32,
  slots: i32,
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
@group(0) @binding(4) var<storage, read> states: array<f32>;
@group(0) @binding(5) var<storage, read> sequences: array<i32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

#include "grid"
#include "activation"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.C || t >= params.T) { return; }
  let b = u32(sequences[4 * params.count + t]);
  let begin = sequences[4 * b];
  let slot = sequences[4 * b + 2];
  let input = params.xOffset + c;
  let at = params.outOffset + t * params.outStride + c;
  if (slot < 0) {
    if (params.firstSlot == 0) { out[at] = x[input + t * params.xStride]; }
    return;
  }
  let localSlot = slot - params.firstSlot;
  if (localSlot < 0 || localSlot >= params.slots) { return; }
  let hasPast = sequences[4 * b + 3] != 0;
  // Where the input before the sequence's first lies; the one before that is one entry less.
  let past = params.statesOffset + u32(localSlot) * params.statesStride + c * params.W + params.W;
  var sum = 0.0;
  if (params.hasBias == 1) { sum = bias[params.biasOffset + c * params.biasStride]; }
  for (var w = 0u; w < params.K; w++) {
    let source = i32(t + w + 1) - i32(params.K);
    var value = 0.0;
    if (source >= begin) {
      value = x[input + u32(source) * params.xStride];
    } else if (hasPast) {
      value = states[past - u32(begin - source)];
    }
    sum += weight[params.weightOffset + c * params.weightStride + w] * value;
  }
  out[at] = select(sum, silu(sum), params.silu == 1);
}
