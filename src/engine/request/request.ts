import { MAX_END_TOKENS, type TokenSampling } from '../../backends/contract/sampling.ts';
import type { AnswerGrammar } from '../../grammar/answer-grammar.ts';
import type { TokenGrammar } from '../../grammar/grammars.ts';
import { bitsOf } from '../../grammar/token-bits.ts';
import { badWordIds } from '../../text/bad-words.ts';
import { StopStrings } from '../../text/stop-strings.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { detached } from '../../util/detached.ts';
import type { LogitsConstraints } from '../sample/logits-editor.ts';
import { logSumExp, rankOf, type Sample, Sampler, topLogprobs } from '../sample/sampler.ts';
import type { SamplingParams, Thoughts } from '../sample/sampling-params.ts';
import type { DraftRequest, Speculation, Speculations } from '../speculate/speculation.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import type { EngineRequest } from './engine-request.ts';
import { HalfLifeMeter } from './half-lives.ts';
import { LogprobColumns, PromptLogprobs } from './logprob-columns.ts';
import type { CompletionOutput, FinishReason, GuessCounts } from './request-output.ts';
import { TextOutput } from './text-output.ts';

/** A request in the engine, with its answers. */
export class Request {
  readonly id: string;
  readonly promptTokenIds: readonly number[];
  readonly params: SamplingParams;
  readonly priority: number;
  readonly cacheSalt: CacheSalt;
  /** Number of requests that were added before it. */
  readonly order: number;
  /** Key of the request group; the id of a request that stands alone. */
  readonly group: symbol | string;
  /** Place among the requests of the same priority: see {@link Scheduler}. */
  readonly turn: number;
  /** The first until the prompt is processed, then all. */
  readonly sequences: Sequence[];
  /** Time of arrival, in milliseconds like all times here. */
  readonly addedAt = performance.now();
  /** Time at which it first got a slot. */
  startedAt: number | undefined;
  firstTokenAt: number | undefined;
  numCachedTokens = 0;
  /** Guessed tokens of all answers. */
  guesses: GuessCounts = { accepted: 0, rejected: 0 };
  /** Whether too much of its output is unread. Then no step processes it. */
  isPaused = false;
  /** Whether the state after some of its tokens is on its way here. Until it has come, no step processes it. */
  isAwaitingState = false;
  /** Finished, aborted or failed. */
  isEnded = false;
  readonly #source: EngineRequest;
  readonly #context: SequenceContext;
  /** Prompt positions whose logits were handed over. */
  #numPromptLogits = 0;
  #promptLogprobs: LogprobColumns | undefined;
  /** Ranks of the tokens that have logprobs. */
  readonly #promptRanks: number[] = [];

  constructor(source: EngineRequest, { id, order, turn }: RequestPlace, context: EngineRequestContext) {
    const { priority = 0 } = source;
    // The caller may change its objects later.
    const params = detached(source.params);
    const promptTokenIds = [...source.promptTokenIds];
    this.id = id;
    this.promptTokenIds = promptTokenIds;
    this.params = params;
    this.priority = priority;
    this.cacheSalt = source.cacheSalt;
    this.order = order;
    this.group = source.group ?? id;
    this.turn = turn;
    this.#source = source;
    const { tokenizer, eosTokenIds, maxModelLen, vocabSize, speculations } = context;
    const endTokenIds = new Set([...params.stopTokenIds, ...(params.ignoreEos ? [] : eosTokenIds)]);
    const badWordsTokenIds = source.badWordsTokenIds ?? badWordIds(params.badWords, tokenizer);
    const repeatableIds = new Set(params.repetitionPenalty === 1 ? [] : promptTokenIds);
    const constraints = {
      promptTokenIds: repeatableIds,
      prompt: promptTokenIds,
      endTokenIds,
      eosTokenIds,
      badWordsTokenIds,
      allowed: params.allowedTokenIds && bitsOf(params.allowedTokenIds, Math.ceil(vocabSize / 32)),
    };
    const stops = new StopStrings(params.stop);
    const { grammar } = source;
    this.#context = { tokenizer, eosTokenIds, maxModelLen, constraints, stops, grammar, speculations };
    const { promptLogprobs } = params;
    this.#promptLogprobs = promptLogprobs === undefined ? undefined : new LogprobColumns(promptLogprobs);
    this.sequences = [new Sequence(this, 0, this.#context)];
  }

  /** Whether every prompt position's logits are asked for: then the whole prompt is processed. */
  get wantsPromptLogits(): boolean {
    return this.#source.onPromptLogits !== undefined || this.params.promptLogprobs !== undefined;
  }

  /** Whether only the prompt counts: its one answer has no tokens. */
  get isEvaluation(): boolean {
    return this.params.maxTokens === 0;
  }

  /** Whether later requests may want to continue from its states. Those of evaluations are not cached. */
  get isCached(): boolean {
    return !(this.isEvaluation && this.wantsPromptLogits);
  }

  get isFinished(): boolean {
    return this.sequences.length === this.#numAnswers && this.sequences.every(({ finishReason }) => finishReason);
  }

  /** Whether tokens of its answers may be guessed. */
  get isSpeculative(): boolean {
    return this.sequences[0].speculation !== undefined;
  }

  /** A guess was checked. */
  countGuess(drafted: number, accepted: number): void {
    const { guesses } = this;
    this.guesses = { accepted: guesses.accepted + accepted, rejected: guesses.rejected + drafted - accepted };
  }

  get numOutputTokens(): number {
    return this.sequences.reduce((sum, { numOutputTokens }) => sum + numOutputTokens, 0);
  }

  /** Adds the answers besides the first, once the prompt is processed. */
  addForks(): Sequence[] {
    const forks: Sequence[] = [];
    for (let index = this.sequences.length; index < this.#numAnswers; index++) {
      forks.push(new Sequence(this, index, this.#context));
    }
    this.sequences.push(...forks);
    return forks;
  }

  /** Logits of positions from `first` on: rows (tokens, vocabSize). A preempted request processes some again. */
  receivePromptLogits(rows: Float32Array, first: number, vocabSize: number): void {
    const begin = this.#numPromptLogits;
    const end = Math.min(first + rows.length / vocabSize, this.promptTokenIds.length);
    if (end <= begin) return;
    this.#numPromptLogits = end;
    const logits = rows.subarray((begin - first) * vocabSize, (end - first) * vocabSize);
    this.#source.onPromptLogits?.(logits, begin);
    this.#addPromptLogprobs(logits, begin, vocabSize);
  }

  /** Passes the state at the end of the answer to its receiver, if there is one. Releases it again if the receiver fails. */
  receiveFinalState(save: () => Snapshot | undefined, release: (snapshot: Snapshot) => void): void {
    if (!this.#source.onFinalState) return;
    const snapshot = save();
    if (!snapshot) return;
    try {
      this.#source.onFinalState(snapshot);
    } catch (error) {
      release(snapshot);
      throw error;
    }
  }

  /** Takes the prompt's logprobs, which only the first output has. */
  takePromptLogprobs(): PromptLogprobs | undefined {
    const taken = this.#promptLogprobs;
    this.#promptLogprobs = undefined;
    return taken && new PromptLogprobs(taken, this.#promptRanks);
  }

  get #numAnswers(): number {
    return this.isEvaluation ? 1 : this.params.n;
  }

  #addPromptLogprobs(logits: Float32Array, first: number, vocabSize: number): void {
    const { promptLogprobs: count } = this.params;
    if (count === undefined) return;
    for (let row = 0; row < logits.length / vocabSize; row++) {
      const tokenId = this.promptTokenIds[first + row + 1];
      if (tokenId === undefined) return;
      const values = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
      const total = logSumExp(values);
      const logprob = values[tokenId] - total;
      this.#promptLogprobs?.push({ tokenId, logprob, topLogprobs: topLogprobs(values, count, total) });
      this.#promptRanks.push(rankOf(values, tokenId));
    }
  }
}

/** A request's name in the engine, and its place among others. */
export type RequestPlace = Pick<Request, 'id' | 'order' | 'turn'>;

/** Parts that requests take from their engine. */
export type EngineRequestContext = Omit<SequenceContext, 'constraints' | 'stops' | 'grammar'> & {
  readonly vocabSize: number;
};

/** Parts that a request's sequences share. */
export interface SequenceContext {
  readonly tokenizer: TextTokenizer | undefined;
  readonly constraints: LogitsConstraints;
  readonly stops: StopStrings;
  /** Form that the answers must have. */
  readonly grammar: TokenGrammar | undefined;
  readonly eosTokenIds: ReadonlySet<number>;
  /** Tokens of prompt and answer together that end the answer. */
  readonly maxModelLen: number;
  /** Absent where no tokens are guessed. */
  readonly speculations?: Speculations | undefined;
}

/** One of a request's answers: its tokens, where its state is, and how its next token is chosen. */
export class Sequence {
  readonly request: Request;
  readonly index: number;
  /** Prompt and answer. */
  readonly tokenIds: number[];
  readonly numPromptTokens: number;
  /** Number of tokens whose effect is in the slot. */
  numComputedTokens = 0;
  /** How many of these, the last ones, the slot's state lacks: their inputs are kept besides it. */
  numTentativeTokens = 0;
  /** Undefined while it waits, and once it has ended. */
  slot: number | undefined;
  /** KV-cache blocks that hold this sequence's tokens. Empty while it has no slot. */
  blocks: readonly number[] = [];
  /** Logits that follow the last token, if the prefix cache already has them. */
  knownLogits: Float32Array | undefined;
  /** Number of times that a later request was served first, or took its place. */
  setbacks = 0;
  finishReason: FinishReason | null = null;
  stopReason: string | number | null = null;
  /** Time of the last token, in milliseconds. */
  lastTokenAt: number | undefined;
  /** Present if the request asks for half-lives. */
  readonly halfLives: HalfLifeMeter | undefined;
  /** Present if its next tokens are guessed. */
  readonly speculation: Speculation | undefined;
  readonly #eosTokenIds: ReadonlySet<number>;
  readonly #maxModelLen: number;
  readonly #sampler: Sampler;
  readonly #output: TextOutput;
  /** Tokens of thoughts so far. */
  #numThoughtTokens = 0;
  /** Form of the answer, as far as it has come. */
  readonly #grammar: AnswerGrammar | undefined;

  constructor(request: Request, index: number, context: SequenceContext) {
    const { tokenizer, constraints, stops, grammar, eosTokenIds, maxModelLen, speculations } = context;
    const { params, promptTokenIds } = request;
    this.request = request;
    this.index = index;
    this.tokenIds = [...promptTokenIds];
    this.numPromptTokens = promptTokenIds.length;
    this.halfLives = params.halfLifeInterval === undefined ? undefined : new HalfLifeMeter(params.halfLifeInterval);
    this.speculation = this.halfLives ? undefined : speculations?.begin(params.numSpeculativeTokens);
    this.#eosTokenIds = eosTokenIds;
    this.#maxModelLen = maxModelLen;
    this.#grammar = grammar?.begin();
    this.#sampler = new Sampler(params, constraints, index, this.#grammar);
    this.#output = new TextOutput(tokenizer, promptTokenIds, stops, params);
  }

  get numOutputTokens(): number {
    return this.tokenIds.length - this.numPromptTokens;
  }

  /** Tokens that a step has yet to process before the next one can be chosen. */
  get numUncomputedTokens(): number {
    return this.tokenIds.length - this.numComputedTokens;
  }

  /** Takes a slot and blocks, with the state after some of its tokens in them. */
  start(
    { slot, blocks }: { readonly slot: number; readonly blocks: readonly number[] },
    state: { readonly length: number; readonly logits: Float32Array | undefined } | undefined,
  ): void {
    this.slot = slot;
    this.blocks = blocks;
    this.numComputedTokens = state?.length ?? 0;
    this.numTentativeTokens = 0;
    this.knownLogits = this.numUncomputedTokens === 0 ? state?.logits : undefined;
  }

  /** Takes note that its slot and blocks were given away. */
  stop(): void {
    this.slot = undefined;
    this.blocks = [];
    this.numTentativeTokens = 0;
    this.#sampler.takeBackDraws();
  }

  /** Takes note that more of its tokens were processed. @param isTentative whether the slot's state lacks them. */
  advance(numTokens: number, isTentative = false): void {
    this.numComputedTokens += numTokens;
    if (isTentative) this.numTentativeTokens += numTokens;
    this.knownLogits = undefined;
  }

  /** Whether the executor may choose the token after the last one: its logits are neither reported nor given to processors. */
  get canBeSampledByExecutor(): boolean {
    const { request, knownLogits, numOutputTokens, numUncomputedTokens } = this;
    const { n, logprobs, logprobsMode, logitsProcessors, halfLifeInterval } = request.params;
    if (logitsProcessors.length > 0 || logprobsMode !== 'raw_logprobs') return false;
    if (logprobs !== undefined || halfLifeInterval !== undefined || request.wantsPromptLogits) return false;
    if (knownLogits || this.#budgetedThoughts !== undefined) return false;
    const isDecode = numOutputTokens > 0 && numUncomputedTokens === 1;
    // After a prompt, all answers to it need the logits, and what a form allows may not be known yet.
    const isOnlyAnswer = numOutputTokens === 0 && n === 1 && !this.#grammar && !request.isEvaluation;
    return isDecode || isOnlyAnswer;
  }

  /** Whether it may choose those after guesses, too, where it may choose the next one. */
  get canForetellSampling(): boolean {
    return this.#sampler.canForetell;
  }

  /**
   * Whether the step after the next can be begun before the next token is known. Tokens that end the answer end it for the
   * executor, too.
   */
  get canRunAhead(): boolean {
    const { params } = this.request;
    if (this.speculation && this.speculation.wanted > 0) return false;
    const isPlain = params.stop.length === 0 && !this.#sampler.dependsOnAnswer && this.#budgetedThoughts === undefined;
    return isPlain && this.#sampler.numEndTokens <= MAX_END_TOKENS;
  }

  /** Whether the tokens that its form allows next are not known yet. */
  get isMaskPending(): boolean {
    return this.#grammar?.isPending ?? false;
  }

  /** Asks for the tokens that its form allows next; resolves when they are known. */
  maskReady(): Promise<void> | undefined {
    return this.#grammar?.whenReady();
  }

  /** Lets go of what follows the answer's form. */
  endGrammar(): void {
    this.#grammar?.dispose();
  }

  /** Whether the next token is the last, whichever it is. */
  get isAboutToBeFull(): boolean {
    return this.numOutputTokens + 1 >= this.request.params.maxTokens || this.tokenIds.length + 1 >= this.#maxModelLen;
  }

  /** A guess at the tokens after the last one, of which one more must have room. @param limit of their number. */
  draft(limit: number): readonly number[] {
    return this.speculation?.draft(this.tokenIds, Math.min(limit, this.#draftRoom)) ?? [];
  }

  /** The guess that it would take, for a model to make it; undefined if it takes none now. */
  get draftRequest(): DraftRequest | undefined {
    const { speculation, tokenIds, numOutputTokens, numUncomputedTokens } = this;
    if (!speculation || numOutputTokens === 0 || numUncomputedTokens !== 1) return undefined;
    const count = Math.min(speculation.wanted, this.#draftRoom);
    return count > 0 ? { drafter: speculation.drafter, tokenIds, count } : undefined;
  }

  get #draftRoom(): number {
    const { maxTokens } = this.request.params;
    return Math.min(maxTokens - this.numOutputTokens, this.#maxModelLen - this.tokenIds.length) - 1;
  }

  /**
   * Instructions for the executor to choose the next token, and the one after each of these guesses if all up to it are right. Each
   * counts as a draw.
   */
  tokenSamplings(drafts: readonly number[]): TokenSampling[] {
    this.#suspendGrammar();
    return Array.from({ length: drafts.length + 1 }, (_, i) => this.#sampler.tokenSampling(drafts.slice(0, i)));
  }

  /** A guess was checked, and no further token comes from it. */
  endGuess(drafted: number, accepted: number): void {
    this.#sampler.takeBackDraws();
    this.speculation?.record(drafted, accepted);
    this.request.countGuess(drafted, accepted);
  }

  /** Takes the token that the executor chose. @throws NonFiniteLogitsError */
  accept(tokenId: number, logprob: number): Sample {
    return this.#sampler.accept(tokenId, logprob);
  }

  /** Chooses the next token. @throws NonFiniteLogitsError */
  sample(logits: Float32Array): Sample {
    const end = this.#endOfThoughts;
    this.#suspendGrammar();
    return end === undefined ? this.#sampler.sample(logits) : this.#sampler.take(end, logits);
  }

  /** Keeps the form from thoughts, which come before it. */
  #suspendGrammar(): void {
    if (this.#grammar) this.#grammar.isSuspended = this.#output.isThinking;
  }

  /** The budget of thoughts that have not ended. */
  get #budgetedThoughts(): NonNullable<Thoughts['budget']> | undefined {
    return this.#output.mayThink ? this.request.params.thoughts?.budget : undefined;
  }

  /** The next token of the thoughts' end, if they have used up their budget. */
  get #endOfThoughts(): number | undefined {
    const budget = this.#output.isThinking ? this.#budgetedThoughts : undefined;
    return budget?.endTokenIds[this.#numThoughtTokens - budget.tokens];
  }

  /** An evaluation ends with its prompt; → its only output, then. */
  endEvaluation(): CompletionOutput | undefined {
    if (!this.request.isEvaluation || this.numUncomputedTokens > 0) return undefined;
    this.finishReason = 'length';
    return { index: this.index, text: '', tokens: [], finishReason: 'length', stopReason: null };
  }

  /** Adds a token. @returns the new text, and whether the answer ends. */
  append(sample: Sample): CompletionOutput {
    const { params } = this.request;
    const { tokenId } = sample;
    this.tokenIds.push(tokenId);
    this.speculation?.observe(this.tokenIds);
    const isStopToken = params.stopTokenIds.has(tokenId);
    // A form that is complete ends the answer, whatever ignoreEos says: nothing else may follow.
    const ignoresEos = params.ignoreEos && !this.#grammar;
    const endsText = isStopToken || (!ignoresEos && this.#eosTokenIds.has(tokenId));
    const isShown = !endsText || (isStopToken && params.includeStopStrInOutput);
    const wasThinking = this.#output.isThinking;
    let { text, stop } = this.#output.push(tokenId, isShown);
    if (wasThinking) this.#numThoughtTokens++;
    const isFull = this.numOutputTokens >= params.maxTokens || this.tokenIds.length >= this.#maxModelLen;
    const isLast = endsText || isFull;
    if (isLast && stop === undefined) {
      const rest = this.#output.flush();
      text += rest.text;
      stop = rest.stop;
    }
    if (endsText || stop !== undefined) {
      this.finishReason = 'stop';
      this.stopReason = stop ?? (isStopToken ? tokenId : null);
    } else if (isLast) {
      this.finishReason = 'length';
    }
    const { index, finishReason, stopReason } = this;
    const halfLives = this.halfLives?.report(this.numOutputTokens);
    const token = { ...sample, text, ...(halfLives && { halfLives }) };
    return { index, text, tokens: [token], finishReason, stopReason };
  }
}
