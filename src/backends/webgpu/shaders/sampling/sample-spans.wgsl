// Edits logits, forbids tokens, and sums up each span of 2048 tokens: one workgroup per span and row.
//
//   logits = edited(logits)                                     in place; what they were goes to originals
//   spans = (max, Σ exp(l - max)) of the logits l as they were
//            (max, its token, Σ exp((s - max) / temperature)) of the edited ones s
//            1 if a logit is NaN or +infinity
//
// logits (B, V), rows (B, 17), edits (edits, 4), originals (edits), spans (B * V / 2048, 8). Grid: (V / 2048, B).

struct Params {
  B: u32,
  V: u32,
  firstRow: u32,      // of the logits among the rows
  logitsOffset: u32,
  logitsStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<i32>;
@group(0) @binding(3) var<storage, read> edits: array<i32>;
@group(0) @binding(4) var<storage, read_write> originals: array<f32>;
@group(0) @binding(5) var<storage, read_write> spans: array<f32>;

#include "grid"
#include "sampling"

var<workgroup> scores: array<f32, SPAN>;
var<workgroup> maxima: array<vec2f, THREADS>;
var<workgroup> likeliest: array<u32, THREADS>;
var<workgroup> isBad: atomic<u32>;

fn isFinite(bits: u32) -> bool {
  return (bits & 0x7f800000u) != 0x7f800000u;
}

fn edited(logit: f32, bias: f32, flags: i32, penalty: f32, repetitionPenalty: f32) -> f32 {
  if ((flags & IS_FORBIDDEN) != 0) { return LOWEST; }
  var score = logit + bias;
  if ((flags & IS_REPEATED) != 0) {
    score = clamp(select(score * repetitionPenalty, score / repetitionPenalty, score > 0), LOWEST, LARGEST);
  }
  return score - penalty;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let local = rowOf(group);
  if (local >= params.B) { return; }
  let t = params.firstRow + local;
  let row = rowAt(t);
  let at = params.logitsOffset + local * params.logitsStride;
  let begin = group.x * SPAN;
  let count = min(SPAN, params.V - begin);

  var most = LOWEST;
  for (var c = i; c < count; c += THREADS) {
    let logit = logits[at + begin + c];
    let bits = bitcast<u32>(logit);
    let isLow = bits == 0xff800000u;
    if (!isFinite(bits) && !isLow) { atomicOr(&isBad, 1); }
    scores[c] = select(logit, LOWEST, isLow);
    most = max(most, scores[c]);
  }
  workgroupBarrier();
  maxima[i] = vec2f(most, 0);
  workgroupBarrier();
  for (var width = THREADS / 2; width > 0; width /= 2) {
    if (i < width) { maxima[i] = max(maxima[i], maxima[i + width]); }
    workgroupBarrier();
  }
  let mostBefore = maxima[0].x;
  var sumBefore = 0.0;
  for (var c = i; c < count; c += THREADS) { sumBefore += exp(scores[c] - mostBefore); }
  workgroupBarrier();

  for (var e = row.firstEdit + i; e < row.firstEdit + row.numEdits; e += THREADS) {
    let token = u32(edits[EDIT_FIELDS * e]);
    if (token < begin || token >= begin + count) { continue; }
    let bias = bitcast<f32>(edits[EDIT_FIELDS * e + 2]);
    let penalty = bitcast<f32>(edits[EDIT_FIELDS * e + 3]);
    let logit = scores[token - begin];
    let score = edited(logit, bias, edits[EDIT_FIELDS * e + 1], penalty, row.repetitionPenalty);
    originals[e] = logit;
    scores[token - begin] = score;
    logits[at + token] = score;
  }
  workgroupBarrier();

  if (row.firstWord >= 0) {
    for (var c = i; c < count; c += THREADS) {
      let token = begin + c;
      if (((edits[u32(row.firstWord) + (token >> 5)] >> (token & 31)) & 1) != 0) { continue; }
      scores[c] = LOWEST;
      logits[at + token] = LOWEST;
    }
    workgroupBarrier();
  }

  most = LOWEST;
  var best = 0u;
  for (var c = i; c < count; c += THREADS) {
    if (scores[c] > most) { most = scores[c]; best = c; }
  }
  maxima[i] = vec2f(most, 0);
  likeliest[i] = best;
  workgroupBarrier();
  for (var width = THREADS / 2; width > 0; width /= 2) {
    if (i < width) {
      let other = maxima[i + width].x;
      let own = maxima[i].x;
      if (other > own || (other == own && likeliest[i + width] < likeliest[i])) {
        maxima[i] = maxima[i + width];
        likeliest[i] = likeliest[i + width];
      }
    }
    workgroupBarrier();
  }
  let mostAfter = maxima[0].x;
  var sumAfter = 0.0;
  let inverse = 1.0 / max(row.temperature, 1e-6);
  for (var c = i; c < count; c += THREADS) { sumAfter += exp((scores[c] - mostAfter) * inverse); }
  workgroupBarrier();

  maxima[i] = vec2f(sumBefore, sumAfter);
  workgroupBarrier();
  for (var width = THREADS / 2; width > 0; width /= 2) {
    if (i < width) { maxima[i] += maxima[i + width]; }
    workgroupBarrier();
  }
  if (i == 0) {
    let to = 8 * (t * ((params.V + SPAN - 1) / SPAN) + group.x);
    spans[to] = mostBefore;
    spans[to + 1] = maxima[0].x;
    spans[to + 2] = mostAfter;
    spans[to + 3] = f32(begin + likeliest[0]);
    spans[to + 4] = maxima[0].y;
    spans[to + 5] = f32(atomicLoad(&isBad));
  }
}
