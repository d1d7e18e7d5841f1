// y = a Wᵀ for up to $M16 * 16 rows by subgroup matrices, which read tiles straight from storage. A workgroup makes
// $N16 * 16 outputs of each row; its $PARTS subgroups take turns with the inputs, and their sums are added at the end.
//
// a: rows of float16 in tiles (see float16-tiles.wgsl), weight (outputs, K) as float16 in tiles (see weight-tiles.ts)
// → out (T, outputs) (+ bias, + residual (T, outputs))
#if SLICED
// Of $SLICES workgroups each takes a share of the inputs, and out is (T, SLICES, outputs): see add-slices.wgsl.
#endif
#if CONV
// Outputs from convBegin on, C of them, are the inputs of causal convolutions (4 taps) with a state of 3: the convolved and
// activated value goes to convolved (T, C). A row whose slot is negative passes through.
#endif
// Grid: (outputs / (16 * N16), SLICES).

#include "linear-matrix-params"

@group(0) @binding(1) var<storage, read> a: array<vec4u>;

const TILES = $K / 16u;             // of a row of W
const SHARE = TILES / ${SLICES}u;   // of a workgroup
const PARTS = ${PARTS}u;
const N16 = ${N16}u;
const M16 = ${M16}u;
const AHEAD = ${AHEAD}u;
const THREADS = PARTS * 32;
const SIZE = 256 * M16 * N16;

var<workgroup> partial: array<vec4f, PARTS * SIZE / 4>;

#include "linear-matrix-results"

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(local_invocation_index) i: u32,
) {
#if SLICED
  let slice = group.y;
#else
  const slice = 0u;
#endif
  let firstColumn = group.x * (16 * N16);
#for j EACH
  let e${j} = min(i + ${j} * THREADS, SIZE / 4 - 1);
  let row${j} = e${j} / 64 / N16 * 16 + e${j} % 64 / 4;
  let column${j} = firstColumn + e${j} / 64 % N16 * 16 + e${j} % 4 * 4;
  let before${j} = before(row${j}, column${j});
#endfor
  const panels = (OUTPUTS + 15) / 16;
#for n N16
  let panel${n} = min(group.x * N16 + ${n}, panels - 1) * TILES + slice * SHARE;
#for m M16
  var sum${m}_${n}: Result;
#endfor
#endfor
  var k = subgroup;
  for (; k + (AHEAD - 1) * PARTS < SHARE; k += AHEAD * PARTS) {
#for j AHEAD
#for n N16
    let right${j}_${n} = subgroupMatrixLoad<Right, col_major>(&weight, (panel${n} + k + ${j} * PARTS) * 32, 2);
#endfor
#endfor
#for j AHEAD
#for m M16
    let left${j}_${m} = subgroupMatrixLoad<Left, row_major>(&a, (${m} * TILES + slice * SHARE + k + ${j} * PARTS) * 32, 2);
#for n N16
    sum${m}_${n} = subgroupMatrixMultiplyAccumulate(left${j}_${m}, right${j}_${n}, sum${m}_${n});
#endfor
#endfor
#endfor
  }
  for (; k < SHARE; k += PARTS) {
#for n N16
    let right${n} = subgroupMatrixLoad<Right, col_major>(&weight, (panel${n} + k) * 32, 2);
#endfor
#for m M16
    let left${m} = subgroupMatrixLoad<Left, row_major>(&a, (${m} * TILES + slice * SHARE + k) * 32, 2);
#for n N16
    sum${m}_${n} = subgroupMatrixMultiplyAccumulate(left${m}, right${n}, sum${m}_${n});
#endfor
#endfor
  }
#for m M16
#for n N16
  subgroupMatrixStore<row_major>(&partial, (subgroup * SIZE + (${m} * N16 + ${n}) * 256) / 4, sum${m}_${n}, 4);
#endfor
#endfor
  workgroupBarrier();

#for j EACH
  if (i + ${j} * THREADS < SIZE / 4) {
    var sum = vec4f();
    for (var part = 0u; part < PARTS; part++) { sum += partial[part * (SIZE / 4) + e${j}]; }
    put(slice, row${j}, column${j}, sum, before${j});
  }
#endfor
}
