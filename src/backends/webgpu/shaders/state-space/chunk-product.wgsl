// What the products of the scan in chunks share: a workgroup makes a tile of 64 x 64 of the product of one chunk and head (or
// group of heads). The including shader's leftFour, rightFour and put say what is multiplied, as tile-product.wgsl wants
// it; its prepare(tile, head, chunk, first token, tokens, i) brings that in place and returns how long the sums are, or 0
// where the tile has no outputs. x (T, H*P), B and C (T, G*N) lie in one buffer with a common stride.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> xBC: array<vec4f>;
@group(0) @binding(2) var<storage, read> sequences: array<i32>;

const N = ${N}u;
const P = ${P}u;
const CHUNK = ${CHUNK}u;
// The chunk's first token, and how many it has.
var<private> begin: u32;
var<private> length: u32;

// Four columns of a token of the chunk.
fn xBCOf(t: u32, column: u32) -> vec4f { return xBC[(column + (begin + t) * params.rowStride) / 4]; }

#include "tile-product"
#include "tile-main"

fn computeTile(group: vec3u, i: u32, subgroup: u32, lane: u32) {
  let chunk = group.z;
  let first = u32(sequences[params.chunks0 + 4 * chunk]);
  let count = u32(sequences[params.chunks0 + 4 * chunk + 1]) - first;
  begin = first;
  length = count;
  let depth = prepare(group.x, group.y, chunk, first, count, i);
  if (depth == 0) { return; }
  multiply(depth, i, subgroup, lane);
}
