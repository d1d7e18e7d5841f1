// Chooses each row's token from the edited logits and what sample-spans made of them: one workgroup per row.
//
// Probabilities are whole numbers of 2⁻³⁰, so sums do not depend on their order:
//   q = round(2³⁰ exp((s - max) / temperature) / Σ exp((s - max) / temperature))
//   kept are q >= least, where least is the largest that keeps what min-p, top-k, top-p want
//   the token is the first, by id, where the running sum of kept q exceeds u times their sum
//
// least is found digit by digit, of 10 bits each, from counts and sums of q by digit.
//
// logits (B, V), rows (B, 17), edits (edits, 4), originals (edits), spans (B * V / 2048, 8)
// → out (B, 2): token, logprob; sampled (slots): the token, -1 if it ends the sequence. Grid: (1, B).

struct Params {
  B: u32,
  V: u32,
  firstRow: u32,      // of the logits among the rows
  logitsOffset: u32,
  logitsStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<i32>;
@group(0) @binding(3) var<storage, read> edits: array<i32>;
@group(0) @binding(4) var<storage, read> originals: array<f32>;
@group(0) @binding(5) var<storage, read> spans: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read_write> sampled: array<f32>;

#include "grid"
#include "sampling"

const ONE = 1073741824.0;
const BINS = 1024u;
/// Loads in flight at the same time.
const UNROLL = 8u;

/// A summary of a row, or of some of its spans.
struct Summary {
  most: f32,
  total: f32,
  mostBefore: f32,
  totalBefore: f32,
  likeliest: u32,
  isBad: u32,
}

var<workgroup> summaries: array<Summary, THREADS>;
var<workgroup> sums: array<u32, THREADS>;
var<workgroup> counts: array<atomic<u32>, BINS>;
var<workgroup> masses: array<atomic<u32>, BINS>;
var<workgroup> choice: vec2u;
var<workgroup> logitBefore: f32;

#include "sample-kept"

/// What sample-spans found, of the whole row.
fn summarize(i: u32, first: u32, numSpans: u32, inverse: f32) -> Summary {
  var own = Summary(LOWEST, 0, LOWEST, 0, 0, 0);
  for (var c = i; c < numSpans; c += THREADS) {
    let at = first + 8 * c;
    let mass = Summary(spans[at + 2], spans[at + 4], spans[at], spans[at + 1], u32(spans[at + 3]), u32(spans[at + 5]));
    own = joined(own, mass, inverse);
  }
  summaries[i] = own;
  workgroupBarrier();
  for (var width = THREADS / 2; width > 0; width /= 2) {
    if (i < width) { summaries[i] = joined(summaries[i], summaries[i + width], inverse); }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&summaries[0]);
}

fn joined(a: Summary, b: Summary, inverse: f32) -> Summary {
  let most = max(a.most, b.most);
  let mostBefore = max(a.mostBefore, b.mostBefore);
  let isB = b.most > a.most || (b.most == a.most && b.likeliest < a.likeliest);
  return Summary(
    most,
    a.total * exp((a.most - most) * inverse) + b.total * exp((b.most - most) * inverse),
    mostBefore,
    a.totalBefore * exp(a.mostBefore - mostBefore) + b.totalBefore * exp(b.mostBefore - mostBefore),
    select(a.likeliest, b.likeliest, isB),
    a.isBad | b.isBad,
  );
}

/// The token where the running sum of kept q exceeds u times their sum: first its span, then its place in there.
fn draw(i: u32, at: u32, row: Row, scale: Scale, first: u32, numSpans: u32) -> u32 {
  let isFiltered = row.topK > 0 || row.topP < 1 || row.minP > 0;
  var least = 1u;
  if (isFiltered) {
    // Rounded up it may be above the likeliest token's, which is kept in any case.
    least = max(1, min(u32(ceil(row.minP * scale.factor)), quantum(scale.most, scale)));
    if (row.topK > 0) { least = largestThatKeeps(i, at, scale, least, row.topK, 0); }
    // One token in any case: f32 may have 0 for the share.
    if (row.topP < 1) { least = largestThatKeeps(i, at, scale, least, 1, row.topP); }
  }

  // The sum of each span, then of each invocation's spans.
  workgroupBarrier();
  for (var c = i; c < BINS; c += THREADS) {
    var mass = 0u;
    if (c < numSpans && !isFiltered) {
      let record = first + 8 * c;
      mass = u32(spans[record + 4] * exp((spans[record + 2] - scale.most) * scale.inverse) * scale.factor + 0.5);
    }
    atomicStore(&counts[c], mass);
  }
  workgroupBarrier();
  if (isFiltered) {
    for (var c = 0u; c < numSpans; c++) {
      var mass = 0u;
      for (var k = 0u; k < UNROLL; k++) {
        let token = SPAN * c + THREADS * k + i;
        if (token < params.V) { mass += kept(quantum(logits[at + token], scale), least); }
      }
      if (mass > 0) { atomicAdd(&counts[c], mass); }
    }
    workgroupBarrier();
  }
  let perInvocation = BINS / THREADS;
  var own = 0u;
  for (var d = 0u; d < perInvocation; d++) { own += atomicLoad(&counts[perInvocation * i + d]); }
  var upTo = sumUpTo(i, own);
  let mass = workgroupUniformLoad(&sums[THREADS - 1]);
  let aim = min(u32(row.u * f32(mass)), mass - 1);
  if (upTo > aim && upTo - own <= aim) {
    var before = upTo - own;
    for (var d = 0u; d < perInvocation; d++) {
      let spanMass = atomicLoad(&counts[perInvocation * i + d]);
      if (before + spanMass > aim) {
        choice = vec2u(perInvocation * i + d, aim - before);
        break;
      }
      before += spanMass;
    }
  }
  let span = workgroupUniformLoad(&choice);

  // Then the place in that span, eight tokens to an invocation.
  let begin = SPAN * span.x + UNROLL * i;
  own = 0;
  for (var k = 0u; k < UNROLL; k++) {
    if (begin + k < params.V) { own += kept(quantum(logits[at + begin + k], scale), least); }
  }
  upTo = sumUpTo(i, own);
  let massInSpan = workgroupUniformLoad(&sums[THREADS - 1]);
  // A span of tokens that are all rounded to nothing.
  if (massInSpan == 0) { return u32(spans[first + 8 * span.x + 3]); }
  let aimInSpan = min(span.y, massInSpan - 1);
  if (upTo > aimInSpan && upTo - own <= aimInSpan) {
    var before = upTo - own;
    for (var k = 0u; k < UNROLL; k++) {
      let q = kept(quantum(logits[at + begin + k], scale), least);
      if (before + q > aimInSpan) {
        choice.x = begin + k;
        break;
      }
      before += q;
    }
  }
  return workgroupUniformLoad(&choice).x;
}

fn kept(q: u32, least: u32) -> u32 {
  return select(0u, q, q >= least);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let local = rowOf(group);
  if (local >= params.B) { return; }
  let t = params.firstRow + local;
  let row = rowAt(t);
  let at = params.logitsOffset + local * params.logitsStride;
  let to = params.outOffset + t * params.outStride;
  let numSpans = (params.V + SPAN - 1) / SPAN;
  let first = 8 * t * numSpans;
  let inverse = 1.0 / max(row.temperature, 1e-6);
  let summary = summarize(i, first, numSpans, inverse);
  if (summary.isBad != 0 || summary.most <= LOWEST) {
    if (i == 0) {
      out[to] = -1;
      out[to + 1] = 0;
      sampled[row.slot] = -1;
    }
    return;
  }
  var token = summary.likeliest;
  if (row.temperature > 0) {
    token = draw(i, at, row, Scale(summary.most, inverse, ONE / summary.total), first, numSpans);
  }

  if (i == 0) { logitBefore = logits[at + token]; }
  workgroupBarrier();
  for (var e = row.firstEdit + i; e < row.firstEdit + row.numEdits; e += THREADS) {
    if (edits[EDIT_FIELDS * e] == i32(token)) { logitBefore = originals[e]; }
  }
  workgroupBarrier();
  if (i == 0) {
    out[to] = f32(token);
    out[to + 1] = logitBefore - summary.mostBefore - log(summary.totalBefore);
    sampled[row.slot] = select(f32(token), -1.0, isEnd(t, i32(token)));
  }
}
