// Per row and group, the sum of squares over the columns held here: one workgroup per sum. v (T, C) → out (T, groups).
//
// Column c of v is column firstColumn + c of the whole row; group g has columns [g * groupSize, (g + 1) * groupSize).
// Grid: (groups, T).

struct Params {
  T: u32,
  C: u32,
  firstColumn: u32,
  groupSize: u32,
  vOffset: u32,
  vStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

#include "grid"
#include "row-sum"

@compute @workgroup_size($THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let t = rowOf(group);
  if (t >= params.T) { return; }
  let groupBegin = group.x * params.groupSize;
  let begin = max(groupBegin, params.firstColumn) - params.firstColumn;
  let end = min(max(groupBegin + params.groupSize, params.firstColumn) - params.firstColumn, params.C);
  var squares = 0.0;
  for (var c = begin + i; c < end; c += $THREADS) {
    let value = v[params.vOffset + t * params.vStride + c];
    squares += value * value;
  }
  let sum = sumOfWorkgroup(squares, i);
  if (i == 0) { out[params.outOffset + t * params.outStride + group.x] = sum; }
}
