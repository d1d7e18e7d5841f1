// Puts rows in their places of a paged cache, as bits: x (T, C), places (T) → cache (blocks, blockSize, C), in place.
// A negative place is a padded row's, and nothing is written. Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  blockSize: u32,
  xOffset: u32,
  xStride: u32,
  cacheOffset: u32,
  cacheStride: u32, // from block to block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<i32>;
@group(0) @binding(3) var<storage, read_write> cache: array<u32>;

#include "element"

fn element(t: u32, c: u32) {
  if (places[t] < 0) { return; }
  let place = u32(places[t]);
  let at = params.cacheOffset + place / params.blockSize * params.cacheStride + place % params.blockSize * params.C;
  cache[at + c] = x[params.xOffset + t * params.xStride + c];
}
