// Causal depthwise convolution over packed sequences: one invocation per token and channel.
//
//   out[t] = activation(bias + Σ_w weight[w] * xx[t + w]),  xx = [past K-1 inputs | the sequence's inputs]
//
// x (T, C), weight (C, K), bias (C), states (S, C, W) with the past of sequences that have one, sequences: see
// SequenceTable → out (T, C). Padded sequences pass through. The states are brought up to date by causal-conv1d-states,
// after this. Sequences in slots outside of [firstSlot, firstSlot + slotCount) are another dispatch's. Grid: (C / 64, T).

struct Params {
  T: u32,
  count: u32,       // of sequences
#include "causal-conv1d-places"
}

@group(0) @binding(5) var<storage, read> states: array<f32>;
@group(0) @binding(6) var<storage, read> sequences: array<i32>;

#include "causal-conv1d"

fn element(t: u32, c: u32) {
  let b = u32(sequences[4 * params.count + t]);
  let begin = sequences[4 * b];
  let slot = sequences[4 * b + 2];
  let input = params.xOffset + c;
  let at = params.outOffset + t * params.outStride + c;
  if (isElsewhere(slot)) { return; }
  if (slot < 0) {
    out[at] = x[input + t * params.xStride];
    return;
  }
  let hasPast = sequences[4 * b + 3] != 0;
  // Where the input before the sequence's first lies; the one before that is one entry less.
  let past = params.statesOffset + rowOfSlot(slot) * params.statesStride + c * params.W + params.W;
  var sum = biasOf(c);
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
  out[at] = activated(sum);
}
