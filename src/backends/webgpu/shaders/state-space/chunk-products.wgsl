// For the scan in chunks: how much each token's output asks of each earlier input of its chunk, C Bᵀ, which all heads of a
// group share.
//
// B and C (T, G*N) in one buffer with a common stride, sequences: see SequenceTable → products (chunks, G, CHUNK, CHUNK).
// Grid: (tiles of 64 x 64, G, chunks).

#if MATRIX
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

#endif
struct Params {
  G: u32,
  chunks0: u32,
  bOffset: u32,
  cOffset: u32,
  rowStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<vec4f>;
@group(0) @binding(2) var<storage, read> sequences: array<i32>;
@group(0) @binding(3) var<storage, read_write> products: array<vec4f>;

const N = ${N}u;
const CHUNK = ${CHUNK}u;
const TILES = (CHUNK + 63) / 64;
var<private> begin: u32;
var<private> length: u32;
var<private> g: u32;
var<private> t0: u32;
var<private> s0: u32;
var<private> place: u32;

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (t0 + outer >= length || k >= N) { return vec4f(); }
  return xBC[(params.cOffset + (begin + t0 + outer) * params.rowStride + g * N + k) / 4];
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (s0 + outer >= length || k >= N) { return vec4f(); }
  return xBC[(params.bOffset + (begin + s0 + outer) * params.rowStride + g * N + k) / 4];
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (t0 + row >= CHUNK || s0 + column >= CHUNK) { return; }
  products[(place + (t0 + row) * CHUNK + s0 + column) / 4] = sums;
}

#include "tile-product"
#include "tile-main"

fn computeTile(group: vec3u, i: u32, subgroup: u32, lane: u32) {
  let chunk = group.z;
  // What lies after a token it does not see.
  if (group.x % TILES > group.x / TILES) { return; }
  t0 = group.x / TILES * 64;
  s0 = group.x % TILES * 64;
  begin = u32(sequences[params.chunks0 + 4 * chunk]);
  length = u32(sequences[params.chunks0 + 4 * chunk + 1]) - begin;
  g = group.y;
  place = (chunk * params.G + g) * CHUNK * CHUNK;
  multiply(N, i, subgroup, lane);
}
