import type { LogitEdit } from '../../backends/contract/sampling.ts';
import type { SamplingParams } from './sampling-params.ts';

/** Penalties next to 0, and huge ones, must not make infinities, of which none is the likeliest. */
const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** Tokens that a request's logits are changed by, besides its params. */
export interface LogitsConstraints {
  /** Tokens of the prompt, if they count as repeated. Answers to one prompt share them. */
  readonly promptTokenIds: ReadonlySet<number>;
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
  /** Counts of the answer's tokens, and the answer itself: kept only if a parameter needs them. */
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
    this.#promptIds = repetitionPenalty === 1 ? new Set() : constraints.promptTokenIds;
  }

  /** Whether the changes depend on the answer so far. */
  get isActive(): boolean {
    return this.#isActive;
  }

  /** @returns the logits themselves where nothing changes them, a changed copy otherwise. */
  process(logits: Float32Array): Float32Array {
    const edits = this.edits();
    if (edits.length === 0) return logits;
    const scores = logits.slice();
    for (const edit of edits) {
      const { tokenId } = edit;
      if (tokenId < scores.length) scores[tokenId] = this.#edited(scores[tokenId], edit);
    }
    return scores;
  }

  /** Changes of the next token's logits: one edit per token id. */
  edits(): LogitEdit[] {
    if (!this.#isActive) return [];
    const { logitBias, repetitionPenalty, frequencyPenalty, presencePenalty } = this.#params;
    const forbidden = this.#forbiddenIds();
    const tokenIds = new Set([...forbidden, ...logitBias.keys(), ...this.#promptIds, ...this.#counts.keys()]);
    return Array.from(tokenIds, (tokenId) => {
      const count = this.#counts.get(tokenId) ?? 0;
      return {
        tokenId,
        bias: forbidden.has(tokenId) ? Number.NEGATIVE_INFINITY : (logitBias.get(tokenId) ?? 0),
        isRepeated: repetitionPenalty !== 1 && (count > 0 || this.#promptIds.has(tokenId)),
        penalty: count > 0 ? frequencyPenalty * count + presencePenalty : 0,
      };
    });
  }

  /** A token was chosen. */
  accept(tokenId: number): void {
    if (!this.#isActive) return;
    this.#answer.push(tokenId);
    this.#counts.set(tokenId, (this.#counts.get(tokenId) ?? 0) + 1);
  }

  #edited(logit: number, { bias, isRepeated, penalty }: LogitEdit): number {
    const score = logit + bias;
    // A forbidden token stays forbidden.
    if (!isRepeated || score === Number.NEGATIVE_INFINITY) return score - penalty;
    const { repetitionPenalty } = this.#params;
    const penalized = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    return Math.max(-LARGEST_FLOAT32, Math.min(penalized, LARGEST_FLOAT32)) - penalty;
  }

  #forbiddenIds(): Set<number> {
    const answer = this.#answer;
    const forbidden = new Set<number>();
    for (const word of this.#constraints.badWordsTokenIds) {
      const before = word.length - 1;
      const begins = answer.length >= before && word.slice(0, before).every((id, i) => id === answer.at(i - before));
      if (begins) forbidden.add(word[before]);
    }
    if (answer.length < this.#params.minTokens) for (const id of this.#constraints.endTokenIds) forbidden.add(id);
    return forbidden;
  }
}
