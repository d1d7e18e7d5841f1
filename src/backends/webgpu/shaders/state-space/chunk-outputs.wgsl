// For the scan in chunks: each token's output, from the state before its chunk and from the inputs of the chunk so far,
//
//   y_t[p] = Σ_n exp(decay_t) C_t[n] state[n][p] + Σ_{s <= t} (C_t · B_s) exp(decay_t - decay_s) Δ_s x_s[p] + D x_t[p]
//
// times silu(z_t[p]) with GATE. One product: k counts n first, then s.
//
// x (T, H*P) and C (T, G*N), products: see chunk-products.wgsl, steps: see chunk-decays.wgsl, chunkStates: see
// chunk-pass.wgsl, D (H), sequences: see SequenceTable, z (T, H*P) → out (T, H*P). Grid: (tiles of 64 x 64, H, chunks).

#if MATRIX
#include "matrix-features"
#endif
struct Params {
#include "chunk-places"
  hasD: u32,
  dOffset: u32,
  dHead: u32,
  zOffset: u32,
  zStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(3) var<storage, read> products: array<vec4f>;
@group(0) @binding(4) var<storage, read> steps: array<f32>;
@group(0) @binding(5) var<storage, read> chunkStates: array<vec4f>;
@group(0) @binding(6) var<storage, read> D: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;
#if GATE
@group(0) @binding(8) var<storage, read> z: array<vec4f>;
#endif

#include "chunk-product"

const TILES = (P + 63) / 64;
// k that both halves of the product can be cut at.
const STATES = (N + 31) / 32 * 32;
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
    return exp(decays[t]) * xBCOf(t, cColumn + k);
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
  return xBCOf(s, xColumn + p0 + outer);
}
fn put(row: u32, column: u32, sums: vec4f) {
  let p = p0 + column;
  if (t0 + row >= length || p >= P) { return; }
  let t = begin + t0 + row;
  var y = sums + skip * xBCOf(t0 + row, xColumn + p);
#if GATE
  let gate = z[(params.zOffset + t * params.zStride + head * P + p) / 4];
  y *= gate / (1 + exp(-gate));
#endif
  out[(params.outOffset + t * params.outStride + head * P + p) / 4] = y;
}

fn prepare(tile: u32, h: u32, chunk: u32, first: u32, count: u32, i: u32) -> u32 {
  let token0 = tile / TILES * 64;
  if (token0 >= count) { return 0; }
  head = h;
  t0 = token0;
  p0 = tile % TILES * 64;
  cColumn = params.cOffset + h / params.headsPerGroup * N;
  xColumn = params.xOffset + h * P;
  states0 = (chunk * params.H + h) * N * P;
  products0 = (chunk * (params.H / params.headsPerGroup) + h / params.headsPerGroup) * CHUNK * CHUNK;
  skip = 0.0;
  if (params.hasD == 1) { skip = D[params.dOffset + h * params.dHead]; }
  for (var t = i; t < CHUNK; t += THREADS) {
    let isInside = t < count;
    deltas[t] = select(0.0, steps[h * params.rows + first + min(t, count - 1)], isInside);
    decays[t] = select(0.0, steps[(params.H + h) * params.rows + first + min(t, count - 1)], isInside);
  }
  workgroupBarrier();
  return STATES + min(token0 + 64, count);
}
