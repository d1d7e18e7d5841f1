// For the scan in chunks: hands the state from chunk to chunk, one invocation per sequence, head, n and four p:
//
//   chunkStates[c] → the state before chunk c;  state = exp(decay of c) state + chunkStates[c]
//
// chunkStates (chunks, H, N, P), steps: see chunk-decays.wgsl, sequences: see SequenceTable; states (S, H, P, N): where the
// sequence starts, and what it leaves. Padded sequences start from zero and leave nothing. States of 16 bits lie two in a
// word, which one invocation has; they are rounded as the sequence's last token says.
// Grid: (N*P / 4 / 64 / columns of an invocation, H, sequences).

struct Params {
  H: u32,
  rows: u32,
  chunkCount: u32,
  ranges0: u32,     // where the table of the sequences' chunks begins
  keepState: u32,   // 0: the slots stay as they are
  statesOffset: u32,
  statesStride: u32,
  positions0: u32,  // where the positions of the sequences' first tokens begin in their table
  key: u32,         // of the layer, for random bits
  firstRow: u32,    // of the layer's state over all ranks, the row that this one begins with
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> steps: array<f32>;
@group(0) @binding(2) var<storage, read> sequences: array<i32>;
@group(0) @binding(3) var<storage, read_write> chunkStates: array<vec4f>;
#if STATES == float32
@group(0) @binding(4) var<storage, read_write> states: array<f32>;
#else
@group(0) @binding(4) var<storage, read_write> states: array<u32>;
#endif

const N = ${N}u;
const P = ${P}u;
const SIZE = N * P / 4;
const COLUMNS = ${COLUMNS}u;
const ROW = N / COLUMNS;  // of the states, in words
#if STATES == float32
#else
#include "short-states"
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let e = group.x * 64 + i;
  if (e >= SIZE / COLUMNS) { return; }
  let h = group.y;
  let b = group.z;
  let slot = sequences[4 * b + 2];
  let first = u32(sequences[params.ranges0 + 2 * b]);
  let count = u32(sequences[params.ranges0 + 2 * b + 1]);
  if (count == 0) { return; }
  let column = e / (P / 4);
  let row = h * P + e % (P / 4) * 4;
  let place = params.statesOffset + u32(max(slot, 0)) * params.statesStride + row * ROW + column;
#for c COLUMNS
  var state${c} = vec4f();
#endfor
  if (slot >= 0 && sequences[4 * b + 3] != 0) {
    for (var j = 0u; j < 4; j++) {
#if STATES == float32
      state0[j] = states[place + j * ROW];
#else
      let pair = statesOf(states[place + j * ROW]);
      state0[j] = pair.x;
      state1[j] = pair.y;
#endif
    }
  }
  let decays = 2 * params.H * params.rows + h * params.chunkCount;
  let leap = params.H * SIZE;
  var at = (first * params.H + h) * SIZE + column * COLUMNS * (P / 4) + e % (P / 4);
  // What comes next is on its way while this is worked on.
#for c COLUMNS
  var next${c} = chunkStates[at + ${c} * (P / 4)];
#endfor
  for (var c = 0u; c < count; c++) {
    let decay = exp(steps[decays + first + c]);
#for c COLUMNS
    let own${c} = next${c};
    if (c + 1 < count) { next${c} = chunkStates[at + leap + ${c} * (P / 4)]; }
    chunkStates[at + ${c} * (P / 4)] = state${c};
    state${c} = decay * state${c} + own${c};
#endfor
    at += leap;
  }
  if (slot < 0 || params.keepState == 0) { return; }
#if STATES == float32
  for (var j = 0u; j < 4; j++) { states[place + j * ROW] = state0[j]; }
#else
#if RANDOM
  let last = sequences[params.positions0 + b] + sequences[4 * b + 1] - sequences[4 * b] - 1;
  let token = tokenBits(params.key, u32(last));
#else
  let token = 0u;
#endif
  for (var j = 0u; j < 4; j++) {
    let rounded = params.firstRow + row + j;
    let bits = vec2u(bitsOf(token, rounded, 2 * column), bitsOf(token, rounded, 2 * column + 1));
    states[place + j * ROW] = wordOf(vec2f(state0[j], state1[j]), bits);
  }
#endif
}
