// States after causal-conv1d-fn: for each sequence and channel the last W inputs, oldest first.
//
// x (T, C), sequences: see SequenceTable → states (S, C, W), in place. Padded and empty sequences change nothing.
// Grid: (C / 64, sequences).

struct Params {
  T: u32,           // sequences
  C: u32,
  W: u32,
  firstSlot: i32,
  slotCount: i32,
  xOffset: u32,
  xStride: u32,
  statesOffset: u32,
  statesStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> sequences: array<i32>;
@group(0) @binding(3) var<storage, read_write> states: array<f32>;

#include "element"
#include "slots"

fn element(b: u32, c: u32) {
  let begin = sequences[4 * b];
  let end = sequences[4 * b + 1];
  let slot = sequences[4 * b + 2];
  if (slot < 0 || isElsewhere(slot) || begin == end) { return; }
  let hasPast = sequences[4 * b + 3] != 0;
  let state = params.statesOffset + rowOfSlot(slot) * params.statesStride + c * params.W;
  // Ascending: an entry is read before it is overwritten.
  for (var i = 0u; i < params.W; i++) {
    let source = end - i32(params.W) + i32(i);
    var value = 0.0;
    if (source >= begin) {
      value = x[params.xOffset + u32(source) * params.xStride + c];
    } else if (hasPast) {
      value = states[state + i + u32(end - begin)];
    }
    states[state + i] = value;
  }
}
