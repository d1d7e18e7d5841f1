// For the scan in chunks: each token's output, from the state before its chunk and from the inputs of the chunk so far,
//
//   y_t[p] = Σ_n exp(decay_t) C_t[n] state[n][p] + Σ_{s <= t} (C_t · B_s) exp(decay_t - decay_s) Δ_s x_s[p] + D x_t[p]
//
// times silu(z_t[p]) with GATE. One product: k counts n first, then s.
//
// x (T, H*P) and C (T, G*N) in one buffer with a common stride, products: see chunk-products.wgsl, steps: see
// chunk-decays.wgsl, chunkStates: see chunk-pass.wgsl, D (H), sequences: see SequenceTable, z (T, H*P) → out (T, H*P).
// Grid: (tiles of 64 x 64, H, chunks).

#if MATRIX
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

#endif
struct Params {
  H: u32,
  headsPerGroup: u32,
  rows: u32,
  chunks0: u32,
  xOffset: u32,
  cOffset: u32,
  rowStride: u32,
  hasD: u32,
  dOffset: u32,
  dHead: u32,
  zOffset: u32,
  zStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<vec4f>;
@group(0) @binding(2) var<storage, read> products: array<vec4f>;
@group(0) @binding(3) var<storage, read> steps: array<f32>;
@group(0) @binding(4) var<storage, read> chunkStates: array<vec4f>;
@group(0) @binding(5) var<storage, read> D: array<f32>;
@group(0) @binding(6) var<storage, read> sequences: array<i32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;
#if GATE
@group(0) @binding(8) var<storage, read> z: array<vec4f>;
#endif

const N = ${N}u;
const P = ${P}u;
const CHUNK = ${CHUNK}u;
const TILES = (P + 63) / 64;
// k that both halves of the product can be cut at.
const STATES = (N + 31) / 32 * 32;
var<private> begin: u32;
var<private> length: u32;
var<private> cColumn: u32;
var<private> xColumn: u32;
var<private> head: u32;
var<private> t0: u32;
var<private> p0: u32;
var<private> states0: u32;
var<private> products0: u32;
var<private> skip: f32;
var<workgroup> decays: array<f32, CHUNK>;
var<workgroup> deltas: array<f32, CHUNK>;

fn leftFour(outer: u32, k: u32) -> vec4f {
  let t = t0 + outer;
  if (t >= length) { return vec4f(); }
  if (k < STATES) {
    if (k >= N) { return vec4f(); }
    return exp(decays[t]) * xBC[(cColumn + (begin + t) * params.rowStride + k) / 4];
  }
  let s = k - STATES;
  if (s > t) { return vec4f(); }
  let decay = vec4f(decays[s], decays[s + 1], decays[s + 2], decays[s + 3]);
  let delta = vec4f(deltas[s], deltas[s + 1], deltas[s + 2], deltas[s + 3]);
  let isSeen = vec4u(s, s + 1, s + 2, s + 3) <= vec4u(t);
  let asked = products[(products0 + t * CHUNK + s) / 4];
  return select(vec4f(), asked * exp(min(vec4f(), decays[t] - decay)) * delta, isSeen);
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (p0 + outer >= P) { return vec4f(); }
  if (k < STATES) {
    if (k >= N) { return vec4f(); }
    return chunkStates[(states0 + k * P + p0 + outer) / 4];
  }
  let s = k - STATES;
  if (s >= length) { return vec4f(); }
  return xBC[(xColumn + (begin + s) * params.rowStride + p0 + outer) / 4];
}
fn put(row: u32, column: u32, sums: vec4f) {
  let p = p0 + column;
  if (t0 + row >= length || p >= P) { return; }
  let t = begin + t0 + row;
  var y = sums + skip * xBC[(xColumn + t * params.rowStride + p) / 4];
#if GATE
  let gate = z[(params.zOffset + t * params.zStride + head * P + p) / 4];
  y *= gate / (1 + exp(-gate));
#endif
  out[(params.outOffset + t * params.outStride + head * P + p) / 4] = y;
}

#include "tile-product"
#include "tile-main"

fn computeTile(group: vec3u, i: u32, subgroup: u32, lane: u32) {
  let chunk = group.z;
  head = group.y;
  let first = u32(sequences[params.chunks0 + 4 * chunk]);
  let count = u32(sequences[params.chunks0 + 4 * chunk + 1]) - first;
  let token0 = group.x / TILES * 64;
  if (token0 >= count) { return; }
  begin = first;
  length = count;
  t0 = token0;
  p0 = group.x % TILES * 64;
  cColumn = params.cOffset + head / params.headsPerGroup * N;
  xColumn = params.xOffset + head * P;
  states0 = (chunk * params.H + head) * N * P;
  products0 = (chunk * (params.H / params.headsPerGroup) + head / params.headsPerGroup) * CHUNK * CHUNK;
  skip = 0.0;
  if (params.hasD == 1) { skip = D[params.dOffset + head * params.dHead]; }
  for (var t = i; t < CHUNK; t += THREADS) {
    let isInside = t < length;
    deltas[t] = select(0.0, steps[head * params.rows + begin + min(t, length - 1)], isInside);
    decays[t] = select(0.0, steps[(params.H + head) * params.rows + begin + min(t, length - 1)], isInside);
  }
  workgroupBarrier();
  multiply(STATES + min(token0 + 64, count), i, subgroup, lane);
}
