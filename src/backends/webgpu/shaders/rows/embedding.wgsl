// Rows of a table by id. ids (T), weight: rows [partBegin, partEnd) of the table, packed as $DTYPE → out (T, C).
//
// An id that names no row of the whole table gives zeros, which the dispatch of its first part writes.
// Grid: (C / 64, T).

struct Params {
  T: u32,
  K: u32,           // columns
  firstRow: i32,    // id of the table's row 0
  rows: i32,        // of the whole table
  partBegin: i32,
  partEnd: i32,
  rowWords: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
#if BLOCKS
@group(0) @binding(2) var<storage, read> weight: array<vec4u>;
#else
@group(0) @binding(2) var<storage, read> weight: array<u32>;
#endif
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "grid"
#include "single-weight"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let c = id.x;
  let t = rowOf(id);
  if (c >= params.K || t >= params.T) { return; }
  let row = ids[t] - params.firstRow;
  let at = params.outOffset + t * params.outStride + c;
  if (row >= params.partBegin && row < params.partEnd) {
    out[at] = weightAt(u32(row - params.partBegin), c);
  } else if (params.partBegin == 0 && (row < 0 || row >= params.rows)) {
    out[at] = 0;
  }
}
