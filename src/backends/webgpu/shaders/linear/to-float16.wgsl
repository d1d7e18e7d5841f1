// Rows as float16 in tiles, as matrix products want them (see float16-tiles.wgsl), normalised:
//
#if NORM
//   x / sqrt(mean(x²) + eps) * weight, with the mean over each of $GROUPS groups of columns
//
#endif
// x (T, K), weight (K) → out: T / 16 * K / 16 tiles. One workgroup per row. Grid: (1, T).

struct Params {
  T: u32,
  xOffset: u32,
  xStride: u32,
  eps: f32,
  weightOffset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4u>;
#if NORM
@group(0) @binding(3) var<storage, read> weight: array<vec4f>;
#endif

const EIGHTS = $K / 8u;
const GROUPS = ${GROUPS}u;
const THREADS = ${THREADS}u;
const SHARE = THREADS / GROUPS;     // invocations of a group
const OWN = EIGHTS / GROUPS;        // its eights

#if NORM
var<workgroup> squares: array<f32, THREADS>;
#endif

#include "grid"
#include "float16-tiles"

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let t = rowOf(group);
  if (t >= params.T) { return; }
  let row = (params.xOffset + t * params.xStride) / 4;
  let first = i / SHARE * OWN + i % SHARE;
  let end = (i / SHARE + 1) * OWN;
#if NORM
  var square = 0.0;
  for (var k = first; k < end; k += SHARE) {
    let x0 = x[row + 2 * k];
    let x1 = x[row + 2 * k + 1];
    square += dot(x0, x0) + dot(x1, x1);
  }
  squares[i] = square;
  workgroupBarrier();
  for (var half = SHARE / 2; half > 0; half /= 2) {
    if (i % SHARE < half) { squares[i] += squares[i + half]; }
    workgroupBarrier();
  }
  let scale = inverseSqrt(squares[i / SHARE * SHARE] / f32(8 * OWN) + params.eps);
  let weight0 = params.weightOffset / 4;
#endif
  for (var k = first; k < end; k += SHARE) {
    var x0 = x[row + 2 * k];
    var x1 = x[row + 2 * k + 1];
#if NORM
    x0 *= scale * weight[weight0 + 2 * k];
    x1 *= scale * weight[weight0 + 2 * k + 1];
#endif
    out[eightOf(t, k)] = vec4u(halvesOf(x0), halvesOf(x1));
  }
}
