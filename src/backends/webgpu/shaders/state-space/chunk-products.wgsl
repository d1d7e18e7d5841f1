// For the scan in chunks: how much each token's output asks of each earlier input of its chunk, C Bᵀ, which all heads of a
// group share.
//
// B and C (T, G*N), sequences: see SequenceTable → products (chunks, G, CHUNK, CHUNK). Grid: (tiles of 64 x 64, G, chunks).

#if MATRIX
#include "matrix-features"
#endif
struct Params {
#include "chunk-places"
}

@group(0) @binding(3) var<storage, read_write> products: array<vec4f>;

#include "chunk-product"

const TILES = (CHUNK + 63) / 64;
var<private> g: u32;
var<private> t0: u32;
var<private> s0: u32;
var<private> place: u32;

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (t0 + outer >= length || k >= N) { return vec4f(); }
  return xBCOf(t0 + outer, params.cOffset + g * N + k);
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (s0 + outer >= length || k >= N) { return vec4f(); }
  return xBCOf(s0 + outer, params.bOffset + g * N + k);
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (t0 + row >= CHUNK || s0 + column >= CHUNK) { return; }
  products[(place + (t0 + row) * CHUNK + s0 + column) / 4] = sums;
}

fn prepare(tile: u32, group: u32, chunk: u32, first: u32, count: u32, i: u32) -> u32 {
  // A token does not see what comes after it.
  if (tile % TILES > tile / TILES) { return 0; }
  t0 = tile / TILES * 64;
  s0 = tile % TILES * 64;
  g = group;
  place = (chunk * (params.H / params.headsPerGroup) + g) * CHUNK * CHUNK;
  return N;
}
