// y = x Wᵀ (+ bias) for many rows in float32, 64 x 64 outputs per workgroup.
//
// x (T, K), weight (outputs, K) as $DTYPE → out (T, outputs), columns from firstOutput on. K and all places are multiples
// of 8. Grid: (outputs / 64, T / 64).

struct Params {
  T: u32,
  outputs: u32,
  firstOutput: u32,
  xOffset: u32,
  xStride: u32,
  outOffset: u32,
  outStride: u32,
  hasBias: u32,
  biasOffset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const EIGHTS = $K / 8u;
const ROW_WORDS = ${ROW_WORDS}u;
var<private> m0: u32;
var<private> n0: u32;

#include "grid"
#include "eights-$DTYPE"

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (m0 + outer >= params.T || k >= 8 * EIGHTS) { return vec4f(); }
  return x[(params.xOffset + (m0 + outer) * params.xStride + k) / 4];
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  if (n0 + outer >= params.outputs || k >= 8 * EIGHTS) { return vec4f(); }
  let packed = loadEight(n0 + outer, k / 8);
  return select(firstFour(packed), lastFour(packed), k % 8 == 4);
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (m0 + row >= params.T) { return; }
  for (var j = 0u; j < 4; j++) {
    let o = n0 + column + j;
    if (o >= params.outputs) { break; }
    var y = sums[j];
    if (params.hasBias == 1) { y += bias[params.biasOffset + params.firstOutput + o]; }
    out[params.outOffset + (m0 + row) * params.outStride + params.firstOutput + o] = y;
  }
}

#include "tile-product"

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  m0 = rowOf(group) * 64;
  n0 = group.x * 64;
  multiply(8 * EIGHTS, i, 0, 0);
}
