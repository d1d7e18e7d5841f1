// y = x Wᵀ for a few rows and the experts that they visit: 8 outputs of one visit per workgroup, 8 invocations each.
//
// x: the visits' rows (visits, K), or with isRouted the batch's rows (T, K), table: see expert-table.ts, weight (E *
// outputs, K) as $DTYPE → out (visits, outputs). Grid: (outputs / 8, visits).

#include "expert-product"

var<workgroup> sums: array<f32, 64>;

#include "grid"
#include "expert-weight"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let visit = rowOf(group);
  if (visit >= params.visits) { return; }
  let o = group.x * 8 + i / 8;
  var row = 0u;
  var isOwn = visit < table[params.E + 1] && o < params.outputs;
  if (isOwn) {
    row = table[params.experts0 + visit] * params.outputs + o;
    isOwn = isHere(row);
  }
  var sum = 0.0;
  if (isOwn) {
    let source = select(visit, table[params.rows0 + visit], params.isRouted == 1);
    let at = params.xOffset + source * params.xStride;
    for (var k = i % 8 * 8; k < K; k += 64) {
      sum += dot(inputFour(at, k), weightFour(row, k)) + dot(inputFour(at, k + 4), weightFour(row, k + 4));
    }
  }
  sums[i] = sum;
  workgroupBarrier();
  if (!isOwn || i % 8 != 0) { return; }
  var y = 0.0;
  for (var j = 0u; j < 8; j++) { y += sums[i + j]; }
  out[params.outOffset + visit * params.outStride + o] = y;
}
