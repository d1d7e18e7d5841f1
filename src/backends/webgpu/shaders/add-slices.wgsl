// Adds up what workgroups made of a share of a product's inputs each, and makes the rows of the layer behind:
//
//   h = residual + Σ_s partial_s / sqrt(mean(v²) + eps);  normed = h / sqrt(mean(h²) + normEps) * normWeight
//
#if SCALED
// The rows v of the product were not divided by their norm: each share's inputs lie in one of $GROUPS groups, whose sums of
// squares are here in $SQUARES pieces a row.
#else
// (The rows of the product were normalised before: nothing is left to divide by.)
#endif
//
// partial (SLICES, T, C), residual (T, C), normWeight (C) → out = h (T, C), normed (T, C) as float16 in tiles (see
// float16-tiles.wgsl). One workgroup per row. Grid: (1, T), and behind that workgroups that prefetch.

struct Params {
  T: u32,
  residualOffset: u32,
  residualStride: u32,
  outOffset: u32,
  outStride: u32,
  squaresOffset: u32,
  eps: f32,
  normEps: f32,
  normOffset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
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
#if SCALED
const GROUPS = ${GROUPS}u;
const OWN = ${SQUARES}u / GROUPS;       // pieces of a group
const SHARE = THREADS / GROUPS;         // invocations of a group
#endif

var<workgroup> sums: array<f32, THREADS>;

#if PREFETCHED
#include "prefetch"
#endif
#include "float16-tiles"

// The sums of `width` neighbouring invocations' values: in the first one's place.
fn sumUp(value: f32, i: u32, width: u32) {
  sums[i] = value;
  workgroupBarrier();
  for (var half = width / 2; half > 0; half /= 2) {
    if (i % width < half) { sums[i] += sums[i + half]; }
    workgroupBarrier();
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let t = group.y;
#if PREFETCHED
  if (t >= params.T) {
    prefetch(t - params.T, i);
    return;
  }
#endif
#if SCALED
  var square = 0.0;
  let firstPiece = params.squaresOffset + t * ${SQUARES}u + i / SHARE * OWN;
  for (var piece = i % SHARE; piece < OWN; piece += SHARE) { square += squares[firstPiece + piece]; }
#endif
#for j EACH
  let four${j} = min(i + ${j} * THREADS, FOURS - 1);
  var shares${j}: array<vec4f, SLICES>;
  for (var s = 0u; s < SLICES; s++) { shares${j}[s] = partial[(s * params.T + t) * FOURS + four${j}]; }
  var h${j} = residual[(params.residualOffset + t * params.residualStride) / 4 + four${j}];
#endfor
#if SCALED
  sumUp(square, i, SHARE);
#endif
  for (var s = 0u; s < SLICES; s++) {
#if SCALED
    let scale = inverseSqrt(sums[s * GROUPS / SLICES * SHARE] / f32($K / GROUPS) + params.eps);
#else
    const scale = 1.0;
#endif
#for j EACH
    h${j} += scale * shares${j}[s];
#endfor
  }
#for j EACH
  if (i + ${j} * THREADS < FOURS) { out[(params.outOffset + t * params.outStride) / 4 + four${j}] = h${j}; }
#endfor
  var own = 0.0;
#for j EACH
  if (i + ${j} * THREADS < FOURS) { own += dot(h${j}, h${j}); }
#endfor
  // Everyone has read the scales.
  workgroupBarrier();
  sumUp(own, i, THREADS);
  let root = inverseSqrt(sums[0] / f32($C) + params.normEps);
#for j EACH
  if (i + ${j} * THREADS < FOURS) {
    let y = root * normWeight[params.normOffset / 4 + four${j}] * h${j};
    normed[2 * eightOf(t, four${j} / 2) + four${j} % 2] = halvesOf(y);
  }
#endfor
}
