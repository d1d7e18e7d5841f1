import { exponential } from './exponential.ts';

/*
 * Loops over the logits of a whole vocabulary, which run for each token. Nothing but a `return` comes after a loop: V8
 * compiles a long loop while it runs, when it has not seen yet what comes after it, and would leave the compiled code there
 * at each later call, to go through most of the vocabulary in its interpreter (50 times as slow).
 */

/** The largest logit: NaN if one is NaN, -Infinity if there is none. */
export function largestOf(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) largest = Math.max(largest, logits[id]);
  return largest;
}

/** Σ exp(logits - largest). By index: iterators would take as long as the exponentials. */
export function sumOfExponentials(logits: Float32Array, largest: number): number {
  let sum = 0;
  for (let id = 0; id < logits.length; id++) sum += exponential(logits[id] - largest);
  return sum;
}

/**
 * Writes exp((scores - largest) · inverse), or 0 where that is below minP.
 * @param inverse of the temperature.
 * @returns the sum of what was written.
 */
export function weigh(
  weights: Float64Array,
  scores: Float32Array,
  { largest, inverse, minP }: { readonly largest: number; readonly inverse: number; readonly minP: number },
): number {
  let total = 0;
  for (let id = 0; id < scores.length; id++) {
    const weight = exponential((scores[id] - largest) * inverse);
    weights[id] = weight >= minP ? weight : 0;
    total += weights[id];
  }
  return total;
}
