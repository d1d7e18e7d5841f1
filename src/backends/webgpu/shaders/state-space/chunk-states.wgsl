// For the scan in chunks: what each chunk's inputs leave in the state at its end,
//
//   state[n][p] = Σ_t B_t[n] x_t[p] Δ_t exp(decay_end - decay_t)
//
// x (T, H*P) and B (T, G*N), steps: see chunk-decays.wgsl, sequences: see SequenceTable → chunkStates (chunks, H, N, P).
// Grid: (tiles of 64 x 64, H, chunks).

#if MATRIX
#include "matrix-features"
#endif
struct Params {
#include "chunk-places"
}

@group(0) @binding(3) var<storage, read> steps: array<f32>;
@group(0) @binding(4) var<storage, read_write> chunkStates: array<vec4f>;

#include "chunk-product"

const TILES = (P + 63) / 64;
var<private> bColumn: u32;
var<private> xColumn: u32;
var<private> n0: u32;
var<private> p0: u32;
var<private> place: u32;
var<workgroup> factors: array<f32, CHUNK>;

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (n0 + outer >= N || k >= length) { return vec4f(); }
  return xBCOf(k, bColumn + n0 + outer);
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (p0 + outer >= P || k >= length) { return vec4f(); }
  return factors[k] * xBCOf(k, xColumn + p0 + outer);
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (n0 + row >= N || p0 + column >= P) { return; }
  chunkStates[(place + (n0 + row) * P + p0 + column) / 4] = sums;
}

fn prepare(tile: u32, h: u32, chunk: u32, first: u32, count: u32, i: u32) -> u32 {
  bColumn = params.bOffset + h / params.headsPerGroup * N;
  xColumn = params.xOffset + h * P;
  n0 = tile / TILES * 64;
  p0 = tile % TILES * 64;
  place = (chunk * params.H + h) * N * P;
  let decays = (params.H + h) * params.rows;
  let last = steps[decays + first + count - 1];
  for (var t = i; t < count; t += THREADS) {
    factors[t] = steps[h * params.rows + first + t] * exp(last - steps[decays + first + t]);
  }
  workgroupBarrier();
  return count;
}
