// Visits in order of experts, and of rows for each: which row visits which expert, and the tiles of 64 visits whose products
// are made together. One workgroup per expert, after expert-counts.
//
// routing (T, E) → table: see expert-table.ts. Grid: (E).

struct Params {
  T: u32,
  E: u32,
  tiles0: u32,
  rows0: u32,
  experts0: u32,
  visits0: u32,
  routingOffset: u32,
  routingStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> routing: array<f32>;
@group(0) @binding(2) var<storage, read_write> table: array<u32>;

const THREADS = ${THREADS}u;
const TILE = 64u;
var<workgroup> ranks: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let e = group.x;
  let count = table[e];
  var visit = 0u;
  var tile = 0u;
  for (var before = 0u; before < e; before++) {
    visit += table[before];
    tile += (table[before] + TILE - 1) / TILE;
  }
  let tiles = (count + TILE - 1) / TILE;
  for (var k = i; k < tiles; k += THREADS) {
    let at = params.tiles0 + 3 * (tile + k);
    table[at] = e;
    table[at + 1] = visit + TILE * k;
    table[at + 2] = min(TILE, count - TILE * k);
  }
  if (i == 0 && e == params.E - 1) {
    table[params.E] = tile + tiles;
    table[params.E + 1] = visit + count;
  }
  for (var first = 0u; first < params.T; first += THREADS) {
    let t = first + i;
    var visits = false;
    if (t < params.T) { visits = routing[params.routingOffset + t * params.routingStride + e] != 0.0; }
    ranks[i] = select(0u, 1u, visits);
    workgroupBarrier();
    for (var distance = 1u; distance < THREADS; distance *= 2) {
      var before = 0u;
      if (i >= distance) { before = ranks[i - distance]; }
      workgroupBarrier();
      ranks[i] += before;
      workgroupBarrier();
    }
    if (visits) {
      let own = visit + ranks[i] - 1;
      table[params.rows0 + own] = t;
      table[params.experts0 + own] = e;
      table[params.visits0 + t * params.E + e] = own;
    }
    visit += ranks[THREADS - 1];
    workgroupBarrier();
  }
}
