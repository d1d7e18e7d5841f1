import { NonFiniteLogitsError } from '../errors.ts';
import { uniform } from './random.ts';
import type { SamplingParams } from './sampling-params.ts';

/** A chosen token. */
export interface Sample {
  readonly tokenId: number;
  /** Natural log of its probability under the model's own distribution, before penalties and temperature. */
  readonly logprob: number;
}

/**
 * Chooses tokens for one request, in vLLM's order: repetition penalty, temperature, min-p, top-k, top-p, draw.
 * Ties go to the lower token id.
 */
export class Sampler {
  readonly #params: SamplingParams;
  readonly #seen: Set<number>;
  #draws = 0;

  constructor(params: SamplingParams, promptTokenIds: Iterable<number>) {
    this.#params = params;
    this.#seen = new Set(promptTokenIds);
  }

  /** @param logits (vocabSize), left as they are. */
  sample(logits: Float32Array): Sample {
    const { repetitionPenalty, temperature } = this.#params;
    const scores = repetitionPenalty === 1 ? logits : penalized(logits, this.#seen, repetitionPenalty);
    const tokenId = temperature === 0 ? argmax(scores) : this.#draw(scores);
    this.#seen.add(tokenId);
    return { tokenId, logprob: logits[tokenId] - logSumExp(logits) };
  }

  #draw(scores: Float32Array): number {
    const { temperature, topK, topP, minP, seed } = this.#params;
    const largest = scores[argmax(scores)];
    const weights = new Float64Array(scores.length);
    let total = 0;
    for (let id = 0; id < scores.length; id++) {
      const weight = Math.exp((scores[id] - largest) / temperature);
      weights[id] = weight >= minP ? weight : 0;
      total += weights[id];
    }
    const u = uniform(seed, this.#draws++);
    if (topK === 0 && topP === 1) return pick(weights, weights.keys(), total * u);
    const kept = mostLikely(weights, topK === 0 ? weights.length : topK, topP);
    return pick(weights, kept, kept.reduce((sum, id) => sum + weights[id], 0) * u);
  }
}

/** log Σ exp(logits) */
export function logSumExp(logits: Float32Array): number {
  const largest = logits[argmax(logits)];
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  return largest + Math.log(sum);
}

/** Position of the largest logit. @throws NonFiniteLogitsError when one is NaN or none is finite. */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if (Number.isNaN(logits[id])) best = Number.NaN;
    else if (logits[id] > logits[best]) best = id;
  }
  if (Number.isNaN(best) || !Number.isFinite(logits[best])) {
    throw new NonFiniteLogitsError(
      'The model computed logits that are not finite numbers.',
      'Load it with checkFinite: true to learn whether a weight is to blame.',
    );
  }
  return best;
}

function penalized(logits: Float32Array, seen: ReadonlySet<number>, penalty: number): Float32Array {
  const scores = logits.slice();
  for (const id of seen) scores[id] = scores[id] > 0 ? scores[id] / penalty : scores[id] * penalty;
  return scores;
}

/** The id at which the running sum of weights passes `target`. */
function pick(weights: Float64Array, ids: Iterable<number>, target: number): number {
  let sum = 0;
  let last = 0;
  for (const id of ids) {
    if (weights[id] === 0) continue;
    sum += weights[id];
    last = id;
    if (sum > target) return id;
  }
  return last;
}

/**
 * Ids by falling weight: at most topK, and no more than it takes to hold the share topP of those topK.
 * Only the top of the vocabulary is sorted, and more of it only when that was not enough.
 */
function mostLikely(weights: Float64Array, topK: number, topP: number): number[] {
  for (const floor of [1e-3, 1e-6, Number.MIN_VALUE]) {
    const sorted: number[] = [];
    let below = 0;
    for (let id = 0; id < weights.length; id++) {
      if (weights[id] >= floor) sorted.push(id);
      else below += weights[id];
    }
    sorted.sort((a, b) => weights[b] - weights[a] || a - b);
    const enough = sorted.length >= topK;
    if (enough) sorted.length = topK;
    const inSorted = sorted.reduce((sum, id) => sum + weights[id], 0);
    const target = topP * (enough ? inSorted : inSorted + below);
    if (enough || inSorted >= target || floor === Number.MIN_VALUE) return prefixOfMass(weights, sorted, target);
  }
  return [];
}

function prefixOfMass(weights: Float64Array, sorted: number[], target: number): number[] {
  let sum = 0;
  for (const [i, id] of sorted.entries()) {
    sum += weights[id];
    if (sum >= target) return sorted.slice(0, i + 1);
  }
  return sorted;
}
