// For the scan in chunks: what each chunk's inputs leave in the state at its end,
//
//   state[n][p] = Σ_t B_t[n] x_t[p] Δ_t exp(decay_end - decay_t)
//
// x (T, H*P) and B (T, G*N) in one buffer with a common stride, steps: see chunk-decays.wgsl, sequences: see SequenceTable
// → chunkStates (chunks, H, N, P). Grid: (tiles of 64 x 64, H, chunks).

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
  bOffset: u32,
  rowStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<vec4f>;
@group(0) @binding(2) var<storage, read> steps: array<f32>;
@group(0) @binding(3) var<storage, read> sequences: array<i32>;
@group(0) @binding(4) var<storage, read_write> chunkStates: array<vec4f>;

const N = ${N}u;
const P = ${P}u;
const CHUNK = ${CHUNK}u;
const TILES = (P + 63) / 64;
var<private> begin: u32;
var<private> length: u32;
var<private> bColumn: u32;
var<private> xColumn: u32;
var<private> n0: u32;
var<private> p0: u32;
var<private> place: u32;
var<workgroup> factors: array<f32, CHUNK>;

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (n0 + outer >= N || k >= length) { return vec4f(); }
  return xBC[(bColumn + (begin + k) * params.rowStride + n0 + outer) / 4];
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (p0 + outer >= P || k >= length) { return vec4f(); }
  return factors[k] * xBC[(xColumn + (begin + k) * params.rowStride + p0 + outer) / 4];
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (n0 + row >= N || p0 + column >= P) { return; }
  chunkStates[(place + (n0 + row) * P + p0 + column) / 4] = sums;
}

#include "tile-product"
#include "tile-main"

fn computeTile(group: vec3u, i: u32, subgroup: u32, lane: u32) {
  let chunk = group.z;
  let h = group.y;
  let first = u32(sequences[params.chunks0 + 4 * chunk]);
  let count = u32(sequences[params.chunks0 + 4 * chunk + 1]) - first;
  begin = first;
  length = count;
  bColumn = params.bOffset + h / params.headsPerGroup * N;
  xColumn = params.xOffset + h * P;
  n0 = group.x / TILES * 64;
  p0 = group.x % TILES * 64;
  place = (chunk * params.H + h) * N * P;
  let decays = (params.H + h) * params.rows;
  let last = steps[decays + first + count - 1];
  for (var t = i; t < count; t += THREADS) {
    factors[t] = steps[h * params.rows + begin + t] * exp(last - steps[decays + begin + t]);
  }
  workgroupBarrier();
  multiply(count, i, subgroup, lane);
}
