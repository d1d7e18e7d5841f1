// One step of the state-space recurrence, and the gate that follows it:
//
//   Δ = clamp(softplus(dt + dtBias));  h = exp(A Δ) h + Δ x ⊗ B;  y = (h C + D x) silu(z)
//
// x (T, H*P), B and C (T, G*N) lie in one buffer, xBC, with a common stride; dt (T, H) and z (T, H*P) in another; A, D and
// dtBias (H); slots (T); states (S, H, P, N), in place → out (T, H*P). Padded rows read zeros and write no state.
#if HALVES
// out: y times normWeight as float16 in tiles (see float16-tiles.wgsl), and sums of y² of two neighbouring channels each in
// squares (T, H*P / 2): what a product makes of out is yet to be divided by the rows' norm.
#endif
#if !WHOLE
// Rows in slots outside of [firstSlot, firstSlot + slotCount) are another dispatch's.
#endif
#if WIDE
// N / 8 neighbouring invocations share a channel's state of N, $CHANNELS channels one after another.
#else
// N / 4 neighbouring invocations share a channel's state of N, $CHANNELS channels one after another.
#endif
// Grid: (H*P / channels of a workgroup, T, 1), then workgroups that prefetch.

#if SUBGROUPS
enable subgroups;

#endif
struct Fixed {
  dtLow: f32,
  dtHigh: f32,
  xOffset: u32,
  bOffset: u32,
  cOffset: u32,
  rowStride: u32,   // of x, B and C
  dtOffset: u32,
  zOffset: u32,
  zStride: u32,     // of z and dt
  aOffset: u32,
  dOffset: u32,
  biasOffset: u32,
#if HALVES
  normOffset: u32,
#else
  outOffset: u32,
  outStride: u32,
#endif
  statesOffset: u32,
  statesStride: u32,
#if !WHOLE
  firstSlot: i32,
  slotCount: i32,
#endif
}

const fixed = Fixed();
@group(0) @binding(1) var<storage, read> xBC: array<vec4f>;
@group(0) @binding(2) var<storage, read> projected: array<f32>;
@group(0) @binding(3) var<storage, read> A: array<f32>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
@group(0) @binding(6) var<storage, read> slots: array<i32>;
#if STATES == float32
@group(0) @binding(7) var<storage, read_write> states: array<vec4f>;
#else
@group(0) @binding(7) var<storage, read_write> states: array<Words>;
#endif
#if HALVES
@group(0) @binding(8) var<storage, read_write> out: array<u32>;
@group(0) @binding(9) var<storage, read> normWeight: array<f32>;
@group(0) @binding(10) var<storage, read_write> squares: array<f32>;
#else
@group(0) @binding(8) var<storage, read_write> out: array<f32>;
#endif

#if STATES == float32
const UNIT = 4u;                     // floats of the states' buffer that an invocation has at once
#else
#if WIDE
alias Words = vec4u;
const UNIT = 4u;
#else
alias Words = vec2u;
const UNIT = 2u;
#endif
#include "short-states"
#endif
const P = ${P}u;
const HEADS_PER_GROUP = ${HEADS_PER_GROUP}u;
const FOURS = ${FOURS}u;             // of an invocation's states
const LANES = $N / (4 * FOURS);      // of a channel
const CHANNELS = ${CHANNELS}u;
const THREADS = ${THREADS}u;
const SHARES = THREADS / LANES;      // channels side by side in a workgroup

#include "activation"
#if PREFETCHED
#include "prefetch"
#endif
#if HALVES
const EIGHTS = ${ROW}u / 8u;         // of a row's channels
#include "float16-tiles"
#endif
#if SUBGROUPS
#if PAIRED
// Two channels lie side by side in a subgroup.
fn sumOfLanes(value: f32, i: u32, lane: u32) -> f32 {
  var sum = value;
  for (var mask = LANES / 2; mask > 0; mask /= 2) { sum += subgroupShuffleXor(sum, mask); }
  return sum;
}
#else
fn sumOfLanes(value: f32, i: u32, lane: u32) -> f32 { return subgroupAdd(value); }
#endif
#else
var<workgroup> values: array<f32, THREADS>;
fn sumOfLanes(value: f32, i: u32, lane: u32) -> f32 {
  values[i] = value;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if (lane < half) { values[i] += values[i + half]; }
    workgroupBarrier();
  }
  let sum = values[i - lane];
  workgroupBarrier();
  return sum;
}
#endif

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) i: u32,
) {
  let t = group.y;
#if PREFETCHED
  if (group.z > 0) {
    prefetch(((group.z - 1) * groups.y + group.y) * groups.x + group.x, i);
    return;
  }
#endif
  let lane = i % LANES;
  let channel = (group.x * SHARES + i / LANES) * CHANNELS;
  let head = channel / P;
  let isPadded = slots[t] < 0;
#if WHOLE
  let slot = slots[t];
#else
  if (isPadded && fixed.firstSlot != 0) { return; }
  let slot = slots[t] - fixed.firstSlot;
  if (!isPadded && (slot < 0 || slot >= fixed.slotCount)) { return; }
#endif
  let state = (fixed.statesOffset + u32(max(slot, 0)) * fixed.statesStride) / UNIT + channel * LANES + lane;
#for c CHANNELS
#if STATES == float32
  let past${c} = select(states[state + ${c} * LANES], vec4f(), isPadded);
#else
  let past${c} = select(states[state + ${c} * LANES], Words(), isPadded);
#endif
#endfor
  let row = t * fixed.rowStride;
  let rowZ = t * fixed.zStride;
  // Loaded before a state is stored: compilers don't move loads across stores.
  let xs = fixed.xOffset + row + channel;
#for c CHANNELS
  let x${c} = xBC[(xs + ${c}) / 4][(xs + ${c}) % 4];
#endfor
#if HALVES
  // Two of the channels are gated by this invocation.
  let own = lane % (CHANNELS / 2) * 2;
  let zs = fixed.zOffset + rowZ + channel + own;
  let z = vec2f(projected[zs], projected[zs + 1]);
  let ws = fixed.normOffset + channel + own;
  let w = vec2f(normWeight[ws], normWeight[ws + 1]);
  var y = vec2f();
#else
  // The channel that this invocation gates.
  let own = lane % CHANNELS;
  let z = projected[fixed.zOffset + rowZ + channel + own];
  var y = 0.0;
#endif
  var raw = projected[fixed.dtOffset + rowZ + head] + dtBias[fixed.biasOffset + head];
#if SOFTPLUS
  raw = softplus(raw);
#endif
  let delta = clamp(raw, fixed.dtLow, fixed.dtHigh);
  let decay = select(exp(min(0.0, A[fixed.aOffset + head] * delta)), 0.0, isPadded);
  let skip = D[fixed.dOffset + head];
  let fours = head / HEADS_PER_GROUP * (FOURS * LANES) + FOURS * lane;
#for f FOURS
  let B${f} = xBC[(fixed.bOffset + row) / 4 + fours + ${f}];
  let C${f} = xBC[(fixed.cOffset + row) / 4 + fours + ${f}];
#endfor
#for c CHANNELS
  var part${c} = 0.0;
#if STATES == float32
  let h${c} = past${c} * decay + (delta * x${c}) * B0;
  part${c} = dot(h${c}, C0);
#else
  var h${c}: Words;
#for f FOURS
  let h${c}f${f} = vec4f(statesOf(past${c}[2 * ${f}]), statesOf(past${c}[2 * ${f} + 1])) * decay + (delta * x${c}) * B${f};
  h${c}[2 * ${f}] = wordOf(h${c}f${f}.xy, vec2u());
  h${c}[2 * ${f} + 1] = wordOf(h${c}f${f}.zw, vec2u());
  part${c} += dot(h${c}f${f}, C${f});
#endfor
#endif
  if (!isPadded) { states[state + ${c} * LANES] = h${c}; }
  let y${c} = sumOfLanes(part${c}, i, lane) + skip * x${c};
#if HALVES
  y[${c} % 2] = select(y[${c} % 2], y${c}, own == ${c} / 2 * 2);
#else
  y = select(y, y${c}, own == ${c});
#endif
#endfor
  let gated = y * z / (1 + exp(-z));
#if HALVES
  if (lane < CHANNELS / 2) {
    let column = channel + own;
    out[4 * eightOf(t, column / 8) + column % 8 / 2] = halvesOf(vec4f(gated * w, 0, 0)).x;
    squares[t * (4 * EIGHTS) + column / 2] = dot(gated, gated);
  }
#else
  if (lane < CHANNELS) { out[fixed.outOffset + t * fixed.outStride + channel + lane] = gated; }
#endif
}
