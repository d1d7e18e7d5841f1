// Which experts tokens visit, and the sums of what these give.

import { exp4, madd, ONE } from './math';

/** Bytes of scratch memory for {@link topKRouting}. */
export function routingScratch(experts: i32, groups: i32): usize {
  return <usize>((experts + 3) & ~3) * 8 + (<usize>groups << 2);
}

/**
 * Per row of logits every expert's weight, 0 for those that are not among the topK best of the topKGroups best groups.
 * `bias` of the choice: 0 for none. `sigmoid`: what makes scores of logits, instead of a softmax.
 */
export function topKRouting(
  logits: usize, logitsStride: usize, bias: usize, out: usize, outStride: usize, rows: i32, experts: i32, topK: i32,
  sigmoid: bool, groups: i32, topKGroups: i32, renormalize: bool, scale: f32, scratch: usize,
): void {
  const scores = scratch, choices = scores + <usize>((experts + 3) & ~3) * 4;
  const groupScores = choices + <usize>((experts + 3) & ~3) * 4;
  for (let r = 0; r < rows; r++) {
    if (sigmoid) sigmoids(logits, scores, experts);
    else softmax(logits, scores, experts);
    for (let e: usize = 0; e < <usize>experts << 2; e += 4) {
      store<f32>(choices + e, load<f32>(scores + e) + (bias ? load<f32>(bias + e) : 0));
    }
    if (topKGroups < groups) keepBestGroups(choices, groupScores, experts / groups, groups, topKGroups);
    memory.fill(out, 0, <usize>experts << 2);
    let total: f32 = 0;
    for (let i = 0; i < topK; i++) {
      const best = takeLargest(choices, experts);
      if (best < 0) break;
      const score = load<f32>(scores + (<usize>best << 2));
      store<f32>(out + (<usize>best << 2), score * scale);
      total += score;
    }
    if (renormalize) {
      for (let e: usize = 0; e < <usize>experts << 2; e += 4) store<f32>(out + e, load<f32>(out + e) / (total + <f32>1e-20));
    }
    logits += logitsStride;
    out += outStride;
  }
}

function sigmoids(logits: usize, scores: usize, experts: i32): void {
  const one = v128.load32_splat(ONE);
  for (let e: usize = 0; e < <usize>experts << 2; e += 16) {
    v128.store(scores + e, f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(v128.load(logits + e))))));
  }
}

function softmax(logits: usize, scores: usize, experts: i32): void {
  const end = <usize>experts << 2;
  let most = load<f32>(logits);
  for (let e: usize = 4; e < end; e += 4) most = max(most, load<f32>(logits + e));
  for (let e: usize = 0; e < end; e += 16) v128.store(scores + e, exp4(f32x4.sub(v128.load(logits + e), f32x4.splat(most))));
  let total: f32 = 0;
  for (let e: usize = 0; e < end; e += 4) total += load<f32>(scores + e);
  for (let e: usize = 0; e < end; e += 16) v128.store(scores + e, f32x4.div(v128.load(scores + e), f32x4.splat(total)));
}

/** Takes all experts out of the choice but those of the groups whose two best sum highest. */
function keepBestGroups(choices: usize, groupScores: usize, size: i32, groups: i32, count: i32): void {
  const groupBytes = <usize>size << 2;
  for (let g: usize = 0; g < <usize>groups; g++) {
    let first: f32 = -Infinity, second: f32 = -Infinity;
    for (let e: usize = 0; e < groupBytes; e += 4) {
      const choice = load<f32>(choices + g * groupBytes + e);
      second = choice > first ? first : max(second, choice);
      first = max(first, choice);
    }
    store<f32>(groupScores + (g << 2), size == 1 ? first : first + second);
  }
  for (let i = 0; i < count; i++) takeLargest(groupScores, groups);
  for (let g: usize = 0; g < <usize>groups; g++) {
    if (load<f32>(groupScores + (g << 2)) == -Infinity) continue;
    for (let e: usize = 0; e < groupBytes; e += 4) store<f32>(choices + g * groupBytes + e, -Infinity);
  }
}

/** The first of the largest values, which becomes -∞; -1 where nothing is left. */
function takeLargest(values: usize, count: i32): i32 {
  let best = -1;
  let largest: f32 = -Infinity;
  for (let i = 0; i < count; i++) {
    const value = load<f32>(values + (<usize>i << 2));
    if (value > largest) {
      largest = value;
      best = i;
    }
  }
  if (best >= 0) store<f32>(values + (<usize>best << 2), -Infinity);
  return best;
}

/** The rows with a weight for one expert, in ascending order, and these weights. → how many */
export function expertRows(routing: usize, stride: usize, rows: i32, expert: i32, indices: usize, weights: usize): i32 {
  let count: usize = 0;
  routing += <usize>expert << 2;
  for (let r = 0; r < rows; r++) {
    const weight = load<f32>(routing);
    if (weight != 0) {
      store<i32>(indices + (count << 2), r);
      store<f32>(weights + (count << 2), weight);
      count++;
    }
    routing += stride;
  }
  return <i32>count;
}

/** Row indices[i] of out += weights[i] * row i of x. */
export function addWeightedRows(
  x: usize, xStride: usize, indices: usize, weights: usize, out: usize, outStride: usize, rows: i32, columns: i32,
): void {
  for (let r: usize = 0; r < <usize>rows; r++) {
    const to = out + <usize>load<i32>(indices + (r << 2)) * outStride;
    const weight = v128.load32_splat(weights + (r << 2));
    for (let c: usize = 0; c < <usize>columns << 2; c += 16) {
      v128.store(to + c, madd(v128.load(x + c), weight, v128.load(to + c)));
    }
    x += xStride;
  }
}
