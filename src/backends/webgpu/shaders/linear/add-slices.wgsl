// Adds up what workgroups made of a share of a product's inputs each, and makes the rows of the next layer:
//
//   h = residual + Σ_s partial_s / sqrt(mean(v²) + eps);  normed = h / sqrt(mean(h²) + normEps) * normWeight
//
#if SCALED
// The rows v of the product were not divided by their norm: each share's inputs lie in one of $GROUPS groups, whose sums of
// squares are here in $SQUARES pieces a row.
#else
// (The rows of the product were normalised before: nothing is left to divide by.)
#endif
// partial (T, SLICES, C), residual (T, C), normWeight (C) → out = h (T, C), normed (T, C) as float16 in tiles (see
// float16-tiles.wgsl). One workgroup per row. Grid: (1, T).

enable subgroups;

struct Fixed {
  residualOffset: u32,
  residualStride: u32,
  outOffset: u32,
  outStride: u32,
  eps: f32,
  normEps: f32,
  normOffset: u32,
}

const fixed = Fixed();
@group(0) @binding(1) var<storage, read> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
#if SCALED
@group(0) @binding(4) var<storage, read> squares: array<f32>;
#endif
@group(0) @binding(5) var<storage, read> normWeight: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> normed: array<vec2u>;

const FOURS = $C / 4u;
const EIGHTS = $C / 8u;
const SLICES = ${SLICES}u;
const THREADS = ${THREADS}u;
const SUBGROUPS = THREADS / 32;
#if SCALED
const GROUPS = ${GROUPS}u;
const SHARE = SUBGROUPS / GROUPS;       // subgroups of a group
const OWN = ${SQUARES}u / SUBGROUPS;    // pieces of a subgroup
#endif

var<workgroup> sums: array<f32, 2 * SUBGROUPS>;

#include "float16-tiles"

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(local_invocation_index) i: u32,
) {
  let t = group.y;
#for j EACH
  let four${j} = min(i + ${j} * THREADS, FOURS - 1);
#if SCALED
  var shares${j}: array<vec4f, GROUPS>;
  for (var g = 0u; g < GROUPS; g++) {
    for (var s = 0u; s < SLICES / GROUPS; s++) {
      shares${j}[g] += partial[(t * SLICES + g * (SLICES / GROUPS) + s) * FOURS + four${j}];
    }
  }
#else
  var shares${j} = vec4f();
  for (var s = 0u; s < SLICES; s++) { shares${j} += partial[(t * SLICES + s) * FOURS + four${j}]; }
#endif
#endfor
#if SCALED
  var square = 0.0;
  let first = t * ${SQUARES}u + subgroup * OWN;
  for (var piece = lane; piece < OWN; piece += 32) { square += squares[first + piece]; }
  square = subgroupAdd(square);
  if (lane == 0) { sums[subgroup] = square; }
#endif
#for j EACH
  var h${j} = residual[(fixed.residualOffset + t * fixed.residualStride) / 4 + four${j}];
  let weight${j} = normWeight[fixed.normOffset / 4 + four${j}];
#endfor
#if SCALED
  workgroupBarrier();
  for (var g = 0u; g < GROUPS; g++) {
    var sum = 0.0;
    for (var j = 0u; j < SHARE; j++) { sum += sums[g * SHARE + j]; }
    let scale = inverseSqrt(sum / f32($K / GROUPS) + fixed.eps);
#for j EACH
    h${j} += scale * shares${j}[g];
#endfor
  }
#else
#for j EACH
  h${j} += shares${j};
#endfor
#endif
  var own = 0.0;
#for j EACH
  if (i + ${j} * THREADS < FOURS) {
    out[(fixed.outOffset + t * fixed.outStride) / 4 + four${j}] = h${j};
    own += dot(h${j}, h${j});
  }
#endfor
  own = subgroupAdd(own);
  if (lane == 0) { sums[SUBGROUPS + subgroup] = own; }
  workgroupBarrier();
  var sum = 0.0;
  for (var j = 0u; j < SUBGROUPS; j++) { sum += sums[SUBGROUPS + j]; }
  let root = inverseSqrt(sum / f32($C) + fixed.normEps);
#for j EACH
  if (i + ${j} * THREADS < FOURS) {
    normed[2 * eightOf(t, four${j} / 2) + four${j} % 2] = halvesOf(root * weight${j} * h${j});
  }
#endfor
}
