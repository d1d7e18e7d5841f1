import type { SamplingParams } from './sampling-params.ts';

/** Penalties next to 0, and huge ones, must not make infinities, of which none is the likeliest. */
const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** What changes a request's logits before a token is drawn, beside its params. */
export interface LogitsConstraints {
  readonly promptTokenIds: readonly number[];
  /** Tokens that end the answer: not before `minTokens`. */
  readonly endTokenIds: ReadonlySet<number>;
  /** Sequences of tokens that the answer must not have. */
  readonly badWordsTokenIds: readonly (readonly number[])[];
}

/**
 * Changes logits as a request's params ask, in vLLM's order: bad words, minimum length, bias, then repetition, frequency
 * and presence penalties.
 */
export class LogitsProcessor {
  readonly #params: SamplingParams;
  readonly #constraints: LogitsConstraints;
  readonly #isActive: boolean;
  readonly #promptIds: ReadonlySet<number>;
  /** How often the answer has each token, and the answer itself: kept only where something needs them. */
  readonly #counts = new Map<number, number>();
  readonly #answer: number[] = [];

  constructor(params: SamplingParams, constraints: LogitsConstraints) {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, minTokens } = params;
    this.#params = params;
    this.#constraints = constraints;
    this.#isActive =
      repetitionPenalty !== 1 ||
      presencePenalty !== 0 ||
      frequencyPenalty !== 0 ||
      logitBias.size > 0 ||
      minTokens > 0 ||
      constraints.badWordsTokenIds.length > 0;
    this.#promptIds = new Set(repetitionPenalty === 1 ? [] : constraints.promptTokenIds);
  }

  /** @returns the logits themselves where nothing changes them, a changed copy otherwise. */
  process(logits: Float32Array): Float32Array {
    if (!this.#isActive) return logits;
    const scores = logits.slice();
    this.#forbid(scores);
    for (const [id, bias] of this.#params.logitBias) if (id < scores.length) scores[id] += bias;
    this.#penalize(scores);
    return scores;
  }

  /** A token was chosen. */
  accept(tokenId: number): void {
    if (!this.#isActive) return;
    this.#answer.push(tokenId);
    this.#counts.set(tokenId, (this.#counts.get(tokenId) ?? 0) + 1);
  }

  #forbid(scores: Float32Array): void {
    const answer = this.#answer;
    for (const word of this.#constraints.badWordsTokenIds) {
      const before = word.length - 1;
      const begins = answer.length >= before && word.slice(0, before).every((id, i) => id === answer.at(i - before));
      if (begins) scores[word[before]] = Number.NEGATIVE_INFINITY;
    }
    if (answer.length >= this.#params.minTokens) return;
    for (const id of this.#constraints.endTokenIds) if (id < scores.length) scores[id] = Number.NEGATIVE_INFINITY;
  }

  #penalize(scores: Float32Array): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#params;
    const repeat = (id: number) => {
      // What is forbidden stays so.
      if (scores[id] === Number.NEGATIVE_INFINITY) return;
      const penalized = scores[id] > 0 ? scores[id] / repetitionPenalty : scores[id] * repetitionPenalty;
      scores[id] = Math.max(-LARGEST_FLOAT32, Math.min(penalized, LARGEST_FLOAT32));
    };
    if (repetitionPenalty !== 1) {
      for (const id of this.#promptIds) repeat(id);
      for (const id of this.#counts.keys()) if (!this.#promptIds.has(id)) repeat(id);
    }
    if (frequencyPenalty === 0 && presencePenalty === 0) return;
    for (const [id, count] of this.#counts) scores[id] -= frequencyPenalty * count + presencePenalty;
  }
}
