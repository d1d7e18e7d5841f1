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
// N / 4 neighbouring invocations share a channel's state of N, $CHANNELS channels one after another.
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
@group(0) @binding(1) var<storage, read> xBC: array<f32>;
@group(0) @binding(2) var<storage, read> projected: array<f32>;
@group(0) @binding(3) var<storage, read> A: array<f32>;
@group(0) @binding(4) var<storage, read> D: array<f32>;
@group(0) @binding(5) var<storage, read> dtBias: array<f32>;
@group(0) @binding(6) var<storage, read> slots: array<i32>;
#if STATES == float32
@group(0) @binding(7) var<storage, read_write> states: array<vec4f>;
#else
@group(0) @binding(7) var<storage, read_write> states: array<vec2u>;
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
const UNIT = 2u;
#include "short-states"
#endif
const P = ${P}u;
const HEADS_PER_GROUP = ${HEADS_PER_GROUP}u;
const LANES = $N / 4u;               // of a channel
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
fn sumOfLanes(value: f32, i: u32, lane: u32) -> f32 { return subgroupAdd(value); }
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
  var h${c} = states[state + ${c} * LANES];
#else
  let words${c} = states[state + ${c} * LANES];
  var h${c} = vec4f(statesOf(words${c}.x), statesOf(words${c}.y));
#endif
#endfor
  let row = t * fixed.rowStride;
  let rowZ = t * fixed.zStride;
#for c CHANNELS
  let z${c} = projected[fixed.zOffset + rowZ + channel + ${c}];
#endfor
#if HALVES
  let w = vec2f(normWeight[fixed.normOffset + channel], normWeight[fixed.normOffset + channel + 1]);
#endif
  var raw = projected[fixed.dtOffset + rowZ + head] + dtBias[fixed.biasOffset + head];
#if SOFTPLUS
  raw = softplus(raw);
#endif
  let delta = clamp(raw, fixed.dtLow, fixed.dtHigh);
  let decay = select(exp(min(0.0, A[fixed.aOffset + head] * delta)), 0.0, isPadded);
  let skip = D[fixed.dOffset + head];
  let b = fixed.bOffset + row + head / HEADS_PER_GROUP * (4 * LANES) + 4 * lane;
  let c = fixed.cOffset + row + head / HEADS_PER_GROUP * (4 * LANES) + 4 * lane;
  let B = vec4f(xBC[b], xBC[b + 1], xBC[b + 2], xBC[b + 3]);
  let C = vec4f(xBC[c], xBC[c + 1], xBC[c + 2], xBC[c + 3]);
#for c CHANNELS
  let x${c} = xBC[fixed.xOffset + row + channel + ${c}];
  h${c} = select(h${c}, vec4f(), isPadded) * decay + (delta * x${c}) * B;
#if STATES == float32
  if (!isPadded) { states[state + ${c} * LANES] = h${c}; }
#else
  if (!isPadded) { states[state + ${c} * LANES] = vec2u(wordOf(h${c}.xy, vec2u()), wordOf(h${c}.zw, vec2u())); }
#endif
  let y${c} = sumOfLanes(dot(h${c}, C), i, lane) + skip * x${c};
#endfor
#for c CHANNELS
  let gated${c} = y${c} * z${c} / (1 + exp(-z${c}));
#if !HALVES
  if (lane == ${c} % LANES) { out[fixed.outOffset + t * fixed.outStride + channel + ${c}] = gated${c}; }
#endif
#endfor
#if HALVES
  if (lane == 0) {
    let y = vec2f(gated0, gated1);
    out[4 * eightOf(t, channel / 8) + channel % 8 / 2] = halvesOf(vec4f(y * w, 0, 0)).x;
    squares[t * (4 * EIGHTS) + channel / 2] = dot(y, y);
  }
#endif
}
