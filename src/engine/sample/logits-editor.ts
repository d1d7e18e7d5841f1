import type { LogitEdit } from '../../backends/contract/sampling.ts';
import { SamplingParamsError, StructuredOutputsError } from '../../errors.ts';
import type { AnswerGrammar } from '../../grammar/answer-grammar.ts';
import { clearBit, isEmpty, keepAllowed, type TokenBits } from '../../grammar/token-bits.ts';
import { LogitsProcessors } from './logits-processor.ts';
import type { SamplingParams } from './sampling-params.ts';

/** Penalties next to 0, and huge ones, must not make infinities, of which none is the likeliest. */
const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

const NONE: ReadonlySet<number> = new Set();

/** Tokens that a request's logits are changed by, besides its params. */
export interface LogitsConstraints {
  /** Tokens of the prompt, if they count as repeated. Answers to one prompt share them. */
  readonly promptTokenIds: ReadonlySet<number>;
  /** The prompt, for the request's own processors. */
  readonly prompt?: readonly number[] | undefined;
  /** Tokens that end the answer: not before `minTokens`. */
  readonly endTokenIds: ReadonlySet<number>;
  /** The model's own ends of text, which `endTokenIds` may lack. */
  readonly eosTokenIds?: ReadonlySet<number> | undefined;
  /** Sequences of tokens that the answer must not have. */
  readonly badWordsTokenIds: readonly (readonly number[])[];
  /** The only tokens that the answer may have. Absent: all. */
  readonly allowed?: TokenBits | undefined;
}

/**
 * Changes logits as a request's params ask: its own processors first, and then in vLLM's order bad words, minimum length,
 * bias, and repetition, frequency and presence penalties. So what is forbidden stays so, whatever a processor does.
 */
export class LogitsEditor {
  readonly #params: SamplingParams;
  readonly #constraints: LogitsConstraints;
  readonly #isActive: boolean;
  readonly #grammar: AnswerGrammar | undefined;
  readonly #processors: LogitsProcessors | undefined;
  readonly #promptIds: ReadonlySet<number>;
  /** Counts of the answer's tokens, and the answer itself: kept only if a parameter needs them. */
  readonly #counts = new Map<number, number>();
  readonly #answer: number[] = [];
  /** Kept from token to token: of a large vocabulary, memory takes longer than what is written to it. */
  #scores = new Float32Array();

  /**
   * @param index which of the `n` answers.
   * @param grammar of the answer: it allows some tokens only.
   */
  constructor(params: SamplingParams, constraints: LogitsConstraints, index: number, grammar?: AnswerGrammar) {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, minTokens, logitsProcessors } = params;
    if (logitsProcessors.length > 0) {
      this.#processors = new LogitsProcessors(logitsProcessors, constraints.prompt ?? [], index);
    }
    this.#params = params;
    this.#constraints = constraints;
    this.#grammar = grammar;
    this.#isActive =
      grammar !== undefined ||
      logitsProcessors.length > 0 ||
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

  /**
   * Whether the changes at later places follow from the tokens before them, so that a guess tells them. Where only some tokens are
   * allowed, a wrong guess may begin a bad word of several tokens and leave none, which must not end the answer.
   */
  get canForetell(): boolean {
    const { allowed, badWordsTokenIds } = this.#constraints;
    const isSure = !allowed || badWordsTokenIds.every(({ length }) => length === 1);
    return isSure && !this.#grammar && !this.#processors;
  }

  /** @returns the logits themselves where nothing changes them, otherwise a changed copy, which the next call overwrites. */
  process(logits: Float32Array): Float32Array {
    const edits = this.edits();
    const allowed = this.allowed();
    if (edits.length === 0 && !allowed && !this.#processors) return logits;
    const changed = this.#processors ? logits.slice() : logits;
    this.#processors?.apply(changed);
    if (this.#scores.length !== logits.length) this.#scores = new Float32Array(logits.length);
    const scores = this.#scores;
    if (allowed) keepAllowed(scores, changed, allowed);
    else scores.set(changed);
    for (const edit of edits) {
      const { tokenId } = edit;
      if (tokenId < scores.length) scores[tokenId] = this.#edited(scores[tokenId], edit);
    }
    this.#processors?.assertChoice(scores);
    return scores;
  }

  /**
   * Changes of the next token's logits, besides those of processors: one edit per token id.
   * @param ahead tokens that the answer is taken to continue with before that one: see {@link canForetell}.
   */
  edits(ahead: readonly number[] = []): LogitEdit[] {
    if (!this.#isActive) return [];
    const { logitBias, repetitionPenalty, frequencyPenalty, presencePenalty } = this.#params;
    const forbidden = this.#forbiddenIds(ahead);
    const isPenalized = repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
    const counts = this.#countsAfter(isPenalized ? ahead : []);
    const counted = isPenalized ? counts.keys() : [];
    const tokenIds = new Set([...forbidden, ...logitBias.keys(), ...this.#promptIds, ...counted]);
    return Array.from(tokenIds, (tokenId) => {
      const count = counts.get(tokenId) ?? 0;
      return {
        tokenId,
        bias: forbidden.has(tokenId) ? Number.NEGATIVE_INFINITY : (logitBias.get(tokenId) ?? 0),
        isRepeated: repetitionPenalty !== 1 && (count > 0 || this.#promptIds.has(tokenId)),
        penalty: count > 0 ? frequencyPenalty * count + presencePenalty : 0,
      };
    });
  }

  /**
   * Bits of the tokens that may be chosen: those that the request allows and the answer's grammar. Undefined: all.
   * @param ahead tokens that the answer is taken to continue with before: see {@link canForetell}.
   * @throws StructuredOutputsError, SamplingParamsError where there are none.
   */
  allowed(ahead: readonly number[] = []): TokenBits | undefined {
    const asked = this.#askedTokens(ahead);
    const form = this.#formTokens();
    if (!asked || !form) return asked ?? form;
    for (const [i, word] of asked.entries()) form[i] &= word;
    return this.#assertSome(form);
  }

  /** Tokens that the request allows, without those that bad words and `minTokens` forbid. */
  #askedTokens(ahead: readonly number[]): TokenBits | undefined {
    const { allowed } = this.#constraints;
    if (!allowed || !this.#isActive) return allowed;
    const bits = allowed.slice();
    for (const id of this.#forbiddenIds(ahead)) clearBit(bits, id);
    if (!isEmpty(bits)) return bits;
    const problem = 'leaves no token: badWords or minTokens forbid all that it names.';
    throw new SamplingParamsError(`allowedTokenIds ${problem}`, 'Name further tokens.', { param: 'allowedTokenIds' });
  }

  /**
   * Tokens that the grammar allows. Where it is complete, minTokens and ignoreEos put the end off only as long as it has
   * other tokens.
   */
  #formTokens(): TokenBits | undefined {
    if (!this.#grammar || this.#grammar.isSuspended) return undefined;
    const { endTokenIds, eosTokenIds = NONE } = this.#constraints;
    const { ignoreEos, minTokens } = this.#params;
    const isEarly = this.#answer.length < minTokens;
    const ends = [...endTokenIds, ...eosTokenIds];
    const putOff = new Set(isEarly ? ends : ignoreEos ? eosTokenIds : []);
    return this.#assertSome(this.#grammar.allowed(ends, putOff));
  }

  #assertSome(bits: TokenBits): TokenBits {
    if (!isEmpty(bits)) return bits;
    const tokens = this.#constraints.allowed ? 'token of allowedTokenIds' : 'token of the model';
    throw new StructuredOutputsError(
      `No ${tokens} can continue the answer of ${this.#answer.length} tokens in the form that it must have.`,
    );
  }

  /** A token was chosen. */
  accept(tokenId: number): void {
    if (!this.#isActive) return;
    this.#processors?.accept(tokenId);
    const { endTokenIds, eosTokenIds = NONE } = this.#constraints;
    const isEnd = endTokenIds.has(tokenId) || eosTokenIds.has(tokenId);
    if (!isEnd && !this.#grammar?.isSuspended) this.#grammar?.accept(tokenId);
    this.#answer.push(tokenId);
    this.#counts.set(tokenId, (this.#counts.get(tokenId) ?? 0) + 1);
  }

  #countsAfter(ahead: readonly number[]): ReadonlyMap<number, number> {
    if (ahead.length === 0) return this.#counts;
    const counts = new Map(this.#counts);
    for (const id of ahead) counts.set(id, (counts.get(id) ?? 0) + 1);
    return counts;
  }

  #edited(logit: number, { bias, isRepeated, penalty }: LogitEdit): number {
    const score = logit + bias;
    // A forbidden token stays forbidden.
    if (!isRepeated || score === Number.NEGATIVE_INFINITY) return score - penalty;
    const { repetitionPenalty } = this.#params;
    const penalized = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    return Math.max(-LARGEST_FLOAT32, Math.min(penalized, LARGEST_FLOAT32)) - penalty;
  }

  #forbiddenIds(ahead: readonly number[]): Set<number> {
    const length = this.#answer.length + ahead.length;
    /** -1: the last one. */
    const tokenAt = (i: number) => ahead.at(i) ?? this.#answer.at(i + ahead.length);
    const forbidden = new Set<number>();
    for (const word of this.#constraints.badWordsTokenIds) {
      const before = word.length - 1;
      const begins = length >= before && word.slice(0, before).every((id, i) => id === tokenAt(i - before));
      if (begins) forbidden.add(word[before]);
    }
    if (!this.#grammar && length < this.#params.minTokens)
      for (const id of this.#constraints.endTokenIds) forbidden.add(id);
    return forbidden;
  }
}
