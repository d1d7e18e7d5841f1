// y = x Wᵀ for many rows and the experts that they visit: 64 outputs of 64 visits of one expert per workgroup.
//
// x: the visits' rows (visits, K), or with isRouted the batch's rows (T, K), table: see expert-table.ts, weight (E *
// outputs, K) as $DTYPE → out (visits, outputs). Grid: (outputs / 64, tiles).

#if MATRIX
#include "matrix-features"
#endif
#include "expert-product"

var<workgroup> tileEntry: array<u32, 3>;
var<private> firstRow: u32;         // of the expert's matrix
var<private> n0: u32;
var<private> firstVisit: u32;
var<private> count: u32;

#include "grid"
#include "expert-weight"

fn leftFour(outer: u32, k: u32) -> vec4f {
  if (outer >= count || k >= K) { return vec4f(); }
  let visit = firstVisit + outer;
  let source = select(visit, table[params.rows0 + visit], params.isRouted == 1);
  return inputFour(params.xOffset + source * params.xStride, k);
}
fn rightFour(outer: u32, k: u32) -> vec4f {
  let row = firstRow + n0 + outer;
  if (n0 + outer >= params.outputs || k >= K || !isHere(row)) { return vec4f(); }
  return weightFour(row, k);
}
fn put(row: u32, column: u32, sums: vec4f) {
  if (row >= count) { return; }
  for (var j = 0u; j < 4; j++) {
    let o = n0 + column + j;
    if (o >= params.outputs) { break; }
    if (isHere(firstRow + o)) { out[params.outOffset + (firstVisit + row) * params.outStride + o] = sums[j]; }
  }
}

#include "tile-product"
#include "tile-main"

fn computeTile(group: vec3u, i: u32, subgroup: u32, lane: u32) {
  let tile = rowOf(group);
  // Looked up once for all invocations, which continue or end together.
  if (i < 3) { tileEntry[i] = select(0u, table[params.tiles0 + 3 * tile + i], tile < table[params.E]); }
  let found = workgroupUniformLoad(&tileEntry);
  if (found[2] == 0) { return; }
  firstRow = found[0] * params.outputs;
  firstVisit = found[1];
  count = found[2];
  n0 = group.x * 64;
  multiply(K, i, subgroup, lane);
}
