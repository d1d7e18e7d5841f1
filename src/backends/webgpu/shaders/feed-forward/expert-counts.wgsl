// How many rows visit each expert: those where it has a weight. One workgroup per expert.
//
// routing (T, E) → table: see expert-table.ts. Grid: (E).

struct Params {
  T: u32,
  routingOffset: u32,
  routingStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> routing: array<f32>;
@group(0) @binding(2) var<storage, read_write> table: array<u32>;

const THREADS = ${THREADS}u;
var<workgroup> counts: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let e = group.x;
  var count = 0u;
  for (var t = i; t < params.T; t += THREADS) {
    if (routing[params.routingOffset + t * params.routingStride + e] != 0.0) { count++; }
  }
  counts[i] = count;
  workgroupBarrier();
  for (var half = THREADS / 2; half > 0; half /= 2) {
    if (i < half) { counts[i] += counts[i + half]; }
    workgroupBarrier();
  }
  if (i == 0) { table[e] = counts[0]; }
}
