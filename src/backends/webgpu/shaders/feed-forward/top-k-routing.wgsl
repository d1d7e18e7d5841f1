// Each token's weight for every expert, 0 for those that it does not visit: one workgroup, of one invocation, per token.
//
//   scores = softmax or sigmoid of the logits; choice = scores + bias
//   the topK highest choices of the best groups are visited, equal ones in order of experts
//   weights = scores, / (their sum + 1e-20) if renormalised, * scale
//
// A group's score is the sum of its two highest choices. logits (T, E), bias (E) → out (T, E). Grid: (1, T).

struct Params {
  T: u32,
  topK: u32,
  topKGroups: u32,
  renormalize: u32,
  scale: f32,
  hasBias: u32,
  logitsOffset: u32,
  logitsStride: u32,
  biasOffset: u32,
  biasStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "grid"

const E = u32($E);
const GROUPS = u32($GROUPS);
const GROUP_SIZE = E / GROUPS;
const LOWEST = -3.4e38;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u) {
  let t = rowOf(group);
  if (t >= params.T) { return; }
  let row = params.logitsOffset + t * params.logitsStride;
  var scores: array<f32, E>;
  var choices: array<f32, E>;
#if SIGMOID
  for (var e = 0u; e < E; e++) { scores[e] = 1.0 / (1.0 + exp(-logits[row + e])); }
#else
  var most = LOWEST;
  for (var e = 0u; e < E; e++) { most = max(most, logits[row + e]); }
  var sum = 0.0;
  for (var e = 0u; e < E; e++) {
    scores[e] = exp(logits[row + e] - most);
    sum += scores[e];
  }
  for (var e = 0u; e < E; e++) { scores[e] /= sum; }
#endif
  for (var e = 0u; e < E; e++) {
    choices[e] = scores[e];
    if (params.hasBias == 1) { choices[e] += bias[params.biasOffset + e * params.biasStride]; }
    out[params.outOffset + t * params.outStride + e] = 0.0;
  }

  var groupScores: array<f32, GROUPS>;
  for (var g = 0u; g < GROUPS; g++) {
    var first = LOWEST;
    var second = LOWEST;
    for (var e = g * GROUP_SIZE; e < (g + 1) * GROUP_SIZE; e++) {
      second = max(second, min(first, choices[e]));
      first = max(first, choices[e]);
    }
    groupScores[g] = first + select(second, 0.0, GROUP_SIZE == 1);
  }
  var isOpen: array<bool, GROUPS>;
  for (var n = 0u; n < params.topKGroups; n++) {
    var best = GROUPS;
    for (var g = 0u; g < GROUPS; g++) {
      if (!isOpen[g] && (best == GROUPS || groupScores[g] > groupScores[best])) { best = g; }
    }
    isOpen[best] = true;
  }

  var isChosen: array<bool, E>;
  var total = 0.0;
  for (var n = 0u; n < params.topK; n++) {
    var best = E;
    for (var e = 0u; e < E; e++) {
      if (isOpen[e / GROUP_SIZE] && !isChosen[e] && (best == E || choices[e] > choices[best])) { best = e; }
    }
    isChosen[best] = true;
    total += scores[best];
  }
  let factor = params.scale / select(1.0, total + 1e-20, params.renormalize == 1);
  for (var e = 0u; e < E; e++) {
    if (isChosen[e]) { out[params.outOffset + t * params.outStride + e] = scores[e] * factor; }
  }
}
