// Puts rows of keys or values in their places of a paged cache in CACHE: x (T, H*D), places (T) → cache (blocks, words of
// blockSize * H rows of D numbers), in place: one invocation for each of the C words of a token. A negative place is a padded
// row's, and nothing is written. Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,           // H * wordsPerHead
  wordsPerHead: u32,
  D: u32,
  blockSize: u32,
  xOffset: u32,
  xStride: u32,
  cacheOffset: u32,
  cacheStride: u32, // from block to block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> places: array<i32>;
@group(0) @binding(3) var<storage, read_write> cache: array<u32>;

#include "cache-formats"
#include "element"

fn element(t: u32, c: u32) {
  if (places[t] < 0) { return; }
  let first = c % params.wordsPerHead * PER_WORD;
  let row = params.xOffset + t * params.xStride + c / params.wordsPerHead * params.D;
  var word = 0u;
  for (var i = 0u; i < PER_WORD; i++) {
    if (first + i < params.D) { word |= codeOf(x[row + first + i]) << (32 / PER_WORD * i); }
  }
  let place = u32(places[t]);
  cache[params.cacheOffset + place / params.blockSize * params.cacheStride + place % params.blockSize * params.C + c] = word;
}
