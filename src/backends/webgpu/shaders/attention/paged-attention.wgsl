// Causal softmax attention over a paged cache: one workgroup per row and head, which takes 64 keys at a time, in ascending
// position, and scales what it has summed when a larger score comes.
//
//   out[i] = Σ_{p - window < j <= p} softmax_j(scale * q_i · k_j) v_j,  p = contextLen - rows + i
//
// query (T, H*D), keyCache and valueCache (blocks, blockSize, Hkv, D) in CACHE, queryStartLoc (S + 1), contextLens (S), blockTables
// (S * W) → out (T, H*D). Rows of padding sequences give zeros. Grid: (H, T).

struct Params {
  T: u32,
  sequences: u32,
  headsPerGroup: u32,
  kvWords: u32,     // of a token: Hkv heads' rows
  blockSize: u32,
  tableWidth: u32,
  scale: f32,
  window: i32,
  queryOffset: u32,
  queryStride: u32,
  keysOffset: u32,
  keysStride: u32,
  valuesOffset: u32,
  valuesStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<f32>;
@group(0) @binding(2) var<storage, read> keyCache: array<u32>;
@group(0) @binding(3) var<storage, read> valueCache: array<u32>;
@group(0) @binding(4) var<storage, read> queryStartLoc: array<i32>;
@group(0) @binding(5) var<storage, read> contextLens: array<i32>;
@group(0) @binding(6) var<storage, read> blockTables: array<i32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

#include "cache-formats"
#include "grid"

const D = u32($D);
// Words of a head's row.
const WORDS = (D + PER_WORD - 1) / PER_WORD;
const THREADS = 64u;
// Columns of a head that one invocation sums.
const COLUMNS = u32($COLUMNS);

var<workgroup> scores: array<f32, THREADS>;
// Where each key's row begins in its block, and the block.
var<workgroup> blocks: array<u32, THREADS>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let h = group.x;
  let t = rowOf(group);
  if (t >= params.T) { return; }
  var s = 0u;
  while (s + 1 < params.sequences && i32(t) >= queryStartLoc[s + 1]) { s++; }
  // Keys that the row sees.
  let context = contextLens[s];
  let visible = select(0, context - (queryStartLoc[s + 1] - 1 - i32(t)), context > 0);
  let column = h / params.headsPerGroup * WORDS;
  let q = params.queryOffset + t * params.queryStride + h * D;

  var most = -3.0e38;
  var total = 0.0;
  var sums: array<f32, COLUMNS>;
  for (var begin = max(0, visible - params.window); begin < visible; begin += 64) {
    let j = u32(begin) + i;
    var score = -3.0e38;
    if (i32(j) < visible) {
      let block = u32(blockTables[s * params.tableWidth + j / params.blockSize]);
      let k = params.keysOffset + block * params.keysStride + j % params.blockSize * params.kvWords + column;
      score = 0.0;
      for (var w = 0u; w < WORDS; w++) {
        let word = keyCache[k + w];
        for (var i = 0u; i < PER_WORD; i++) {
          let d = w * PER_WORD + i;
          if (D % PER_WORD == 0 || d < D) { score += query[q + d] * valueOf(word, i); }
        }
      }
      score *= params.scale;
      blocks[i] = block;
    }
    scores[i] = score;
    workgroupBarrier();
    let count = min(64, visible - begin);
    var highest = most;
    for (var n = 0; n < count; n++) { highest = max(highest, scores[n]); }
    let shrink = exp(most - highest);
    most = highest;
    total *= shrink;
    for (var m = 0u; m < COLUMNS; m++) { sums[m] *= shrink; }
    for (var n = 0; n < count; n++) {
      let weight = exp(scores[n] - most);
      total += weight;
      let at = u32(begin + n);
      let v = params.valuesOffset + blocks[n] * params.valuesStride + at % params.blockSize * params.kvWords + column;
      for (var m = 0u; m < COLUMNS; m++) {
        let d = m * THREADS + i;
        if (d < D) { sums[m] += weight * valueOf(valueCache[v + d / PER_WORD], d % PER_WORD); }
      }
    }
    workgroupBarrier();
  }
  for (var m = 0u; m < COLUMNS; m++) {
    let d = m * THREADS + i;
    if (d < D) { out[params.outOffset + t * params.outStride + h * D + d] = select(0.0, sums[m] / total, visible > 0); }
  }
}
