import type { TokenSampling } from '../../backends/contract/sampling.ts';
import { NonFiniteLogitsError } from '../../errors.ts';
import type { AnswerGrammar } from '../../grammar/answer-grammar.ts';
import { type LogitsConstraints, LogitsEditor } from './logits-editor.ts';
import { overLogits } from './over-logits.ts';
import { uniform } from './random.ts';
import type { SamplingParams } from './sampling-params.ts';
import type { TokenLogprob } from './token-logprob.ts';

/** Temperature below which the likeliest token is taken, as in vLLM: dividing by less would overflow. */
const GREEDY_BELOW = 1e-5;

/** A chosen token. Its logprob is under the model's own distribution, before penalties and temperature. */
export interface Sample extends TokenLogprob {
  /** The likeliest tokens in its place, where params ask for them. */
  readonly topLogprobs?: readonly TokenLogprob[];
}

/**
 * Chooses the tokens of one answer, in vLLM's order: what {@link LogitsEditor} does, temperature, min-p, top-k, top-p,
 * draw. Ties go to the lower token id. Draws depend on the seed and on how many there were, so on nothing else that runs.
 */
export class Sampler {
  readonly #params: SamplingParams;
  readonly #editor: LogitsEditor;
  readonly #endTokenIds: readonly number[];
  readonly #seed: bigint;
  #draws = 0;
  /** How many of them, the last ones, were for tokens that have not come from elsewhere yet. */
  #openDraws = 0;

  /**
   * @param index which of the `n` answers.
   * @param grammar of the answer, which it takes its tokens to.
   */
  constructor(params: SamplingParams, constraints: LogitsConstraints, index = 0, grammar?: AnswerGrammar) {
    this.#params = params;
    this.#editor = new LogitsEditor(params, constraints, index, grammar);
    this.#endTokenIds = [...constraints.endTokenIds];
    this.#seed = params.seed + BigInt(index);
  }

  /** @param logits (vocabSize), left as they are. */
  sample(logits: Float32Array): Sample {
    const scores = this.#editor.process(logits);
    if (scores === logits && this.#isGreedy) {
      // One reading of the logits gives both.
      const { largest, total } = finiteLogSumExp(logits);
      return this.#take(logits.indexOf(largest), logits, total);
    }
    const tokenId = this.#isGreedy ? scores.indexOf(largestFinite(scores)) : this.#draw(scores);
    return this.take(tokenId, this.#params.logprobsMode === 'processed_logprobs' ? scores : logits);
  }

  /** Takes a token that was decided elsewhere. */
  take(tokenId: number, logits: Float32Array): Sample {
    return this.#take(tokenId, logits, logSumExp(logits));
  }

  #take(tokenId: number, logits: Float32Array, total: number): Sample {
    const { logprobs } = this.#params;
    this.#editor.accept(tokenId);
    const logprob = logits[tokenId] - total;
    return logprobs === undefined
      ? { tokenId, logprob }
      : { tokenId, logprob, topLogprobs: topLogprobs(logits, logprobs, total) };
  }

  /**
   * Instructions for choosing the next token elsewhere. They count as a draw; {@link accept} takes the chosen token.
   * @param ahead guesses at the tokens before that one, each of which has had its instructions: see {@link canForetell}.
   */
  tokenSampling(ahead: readonly number[] = []): TokenSampling {
    const { temperature, topK, topP, minP, repetitionPenalty } = this.#params;
    if (!this.#isGreedy) this.#openDraws++;
    return {
      temperature: this.#isGreedy ? 0 : temperature,
      topK,
      topP,
      minP,
      u: this.#isGreedy ? 0 : uniform(this.#seed, this.#draws++),
      repetitionPenalty,
      edits: this.#editor.edits(ahead),
      allowed: this.#editor.allowed(ahead),
      endTokenIds: this.#endTokenIds,
    };
  }

  /** Takes a token that the executor chose. @param tokenId -1 if no logits were finite. @throws NonFiniteLogitsError */
  accept(tokenId: number, logprob: number): Sample {
    if (tokenId < 0) throw nonFiniteLogits();
    if (!this.#isGreedy) this.#openDraws--;
    this.#editor.accept(tokenId);
    return { tokenId, logprob };
  }

  /** Takes note that tokens which were to be chosen elsewhere will not come: the next ones get their draws. */
  takeBackDraws(): void {
    this.#draws -= this.#openDraws;
    this.#openDraws = 0;
  }

  get numEndTokens(): number {
    return this.#endTokenIds.length;
  }

  /** Whether how the next token is chosen depends on the answer so far. */
  get dependsOnAnswer(): boolean {
    return this.#editor.isActive;
  }

  /** Whether how tokens after guesses are chosen is known before the guesses are checked. */
  get canForetell(): boolean {
    return this.#editor.canForetell;
  }

  get #isGreedy(): boolean {
    return this.#params.temperature < GREEDY_BELOW;
  }

  #draw(scores: Float32Array): number {
    const { temperature, topK, topP, minP } = this.#params;
    const { weights, total } = overLogits.weigh(scores, {
      largest: largestFinite(scores),
      inverse: 1 / temperature,
      minP,
    });
    const u = uniform(this.#seed, this.#draws++);
    if (topK === 0 && topP === 1) return overLogits.pick(total * u);
    const kept = mostLikely(weights, topK === 0 ? weights.length : topK, topP).sort((a, b) => a - b);
    const keptWeights = Float64Array.from(kept, (id) => weights[id]);
    return kept[pick(keptWeights, keptWeights.reduce((sum, weight) => sum + weight, 0) * u)];
  }
}

/** The `count` likeliest tokens, likeliest first, the lower id of equals. @param total logSumExp of the logits. */
export function topLogprobs(logits: Float32Array, count: number, total = logSumExp(logits)): TokenLogprob[] {
  const top: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (top.length === count && !(logits[id] > logits[top[count - 1]])) continue;
    let place = top.length;
    while (place > 0 && logits[id] > logits[top[place - 1]]) place--;
    top.splice(place, 0, id);
    if (top.length > count) top.pop();
  }
  // What is forbidden has none.
  const possible = top.filter((tokenId) => logits[tokenId] !== Number.NEGATIVE_INFINITY);
  return possible.map((tokenId) => ({ tokenId, logprob: logits[tokenId] - total }));
}

/** Number of tokens at least as likely as one: 1 for the likeliest, as in vLLM. */
export function rankOf(logits: Float32Array, tokenId: number): number {
  const own = logits[tokenId];
  let rank = 0;
  for (let id = 0; id < logits.length; id++) if (logits[id] >= own) rank++;
  return rank;
}

/** log Σ exp(logits). @throws NonFiniteLogitsError when one is NaN or none is finite. */
export function logSumExp(logits: Float32Array): number {
  return finiteLogSumExp(logits).total;
}

function finiteLogSumExp(logits: Float32Array): { readonly largest: number; readonly total: number } {
  const sum = overLogits.logSumExp(logits);
  assertFinite(sum.largest);
  return sum;
}

/** The largest logit. @throws NonFiniteLogitsError when one is NaN or none is finite. */
function largestFinite(logits: Float32Array): number {
  const largest = overLogits.largest(logits);
  assertFinite(largest);
  return largest;
}

/** @param largest of some logits. */
function assertFinite(largest: number): void {
  if (!Number.isFinite(largest)) throw nonFiniteLogits();
}

function nonFiniteLogits(): NonFiniteLogitsError {
  return new NonFiniteLogitsError(
    'The model computed logits that are not finite numbers.',
    'Load it with checkFinite: true to find out whether a weight is the cause.',
  );
}

/** Index at which the running sum of weights passes `target`. */
function pick(weights: Float64Array, target: number): number {
  let sum = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    sum += weights[i];
    last = i;
    if (sum > target) return i;
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
