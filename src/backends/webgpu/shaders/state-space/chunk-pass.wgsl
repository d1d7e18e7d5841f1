// For the scan in chunks: hands the state from chunk to chunk, one invocation per sequence, head, n and four p:
//
//   chunkStates[c] → the state before chunk c;  state = exp(decay of c) state + chunkStates[c]
//
// chunkStates (chunks, H, N, P), steps: see chunk-decays.wgsl, sequences: see SequenceTable; states (S, H, P, N): where the
// sequence starts, and what it leaves. Padded sequences start from zero and leave nothing.
// Grid: (N*P / 4 / 64, H, sequences).

struct Params {
  H: u32,
  rows: u32,
  chunkCount: u32,
  ranges0: u32,     // where the table of the sequences' chunks begins
  keepState: u32,   // 0: the slots stay as they are
  statesOffset: u32,
  statesStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> steps: array<f32>;
@group(0) @binding(2) var<storage, read> sequences: array<i32>;
@group(0) @binding(3) var<storage, read_write> chunkStates: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> states: array<f32>;

const N = ${N}u;
const P = ${P}u;
const SIZE = N * P / 4;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let e = group.x * 64 + i;
  if (e >= SIZE) { return; }
  let h = group.y;
  let b = group.z;
  let slot = sequences[4 * b + 2];
  let first = u32(sequences[params.ranges0 + 2 * b]);
  let count = u32(sequences[params.ranges0 + 2 * b + 1]);
  if (count == 0) { return; }
  let n = e / (P / 4);
  let place = params.statesOffset + u32(max(slot, 0)) * params.statesStride + (h * P + e % (P / 4) * 4) * N + n;
  var state = vec4f();
  if (slot >= 0 && sequences[4 * b + 3] != 0) {
    state = vec4f(states[place], states[place + N], states[place + 2 * N], states[place + 3 * N]);
  }
  let decays = 2 * params.H * params.rows + h * params.chunkCount;
  let leap = params.H * SIZE;
  var at = (first * params.H + h) * SIZE + e;
  // What comes next is on its way while this is worked on.
  var next = chunkStates[at];
  for (var c = 0u; c < count; c++) {
    let own = next;
    if (c + 1 < count) { next = chunkStates[at + leap]; }
    chunkStates[at] = state;
    state = exp(steps[decays + first + c]) * state + own;
    at += leap;
  }
  if (slot < 0 || params.keepState == 0) { return; }
  for (var j = 0u; j < 4; j++) { states[place + j * N] = state[j]; }
}
