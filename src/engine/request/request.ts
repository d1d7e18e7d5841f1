import { badWordIds } from '../../text/bad-words.ts';
import { StopStrings } from '../../text/stop-strings.ts';
import { detached } from '../../util/detached.ts';
import { logSumExp, topLogprobs } from '../sample/sampler.ts';
import type { SamplingParams } from '../sample/sampling-params.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import type { EngineRequest } from './engine-request.ts';
import { LogprobColumns, PromptLogprobs } from './logprob-columns.ts';
import { Sequence, type SequenceContext } from './sequence.ts';

/** A request in the engine: its answers and what is known of it. */
export class Request {
  readonly id: string;
  readonly promptTokenIds: readonly number[];
  readonly params: SamplingParams;
  readonly priority: number;
  readonly cacheSalt: CacheSalt;
  /** How many requests were added before it. */
  readonly order: number;
  /** What it shares with those that came together with it; its id where it stands alone. */
  readonly group: symbol | string;
  /** Its place among those of the same priority: see {@link Scheduler}. */
  readonly turn: number;
  /** The first until the prompt is processed, then all. */
  readonly sequences: Sequence[];
  /** In milliseconds, as all times here. */
  readonly addedAt = performance.now();
  /** When it first got a slot. */
  startedAt: number | undefined;
  firstTokenAt: number | undefined;
  numCachedTokens = 0;
  /** Its reader lags behind: no step processes it. */
  isPaused = false;
  /** Finished, aborted or failed. */
  isEnded = false;
  readonly #source: EngineRequest;
  readonly #context: SequenceContext;
  /** Prompt positions whose logits were handed over. */
  #numPromptLogits = 0;
  #promptLogprobs: LogprobColumns | undefined;

  constructor(source: EngineRequest, { id, order, turn }: RequestPlace, context: EngineRequestContext) {
    const { priority = 0 } = source;
    // Whoever asks may go on with what was given.
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
    const { tokenizer, eosTokenIds, maxModelLen } = context;
    const endTokenIds = new Set([...params.stopTokenIds, ...(params.ignoreEos ? [] : eosTokenIds)]);
    const badWordsTokenIds = source.badWordsTokenIds ?? badWordIds(params.badWords, tokenizer);
    const repeatableIds = new Set(params.repetitionPenalty === 1 ? [] : promptTokenIds);
    const constraints = { promptTokenIds: repeatableIds, endTokenIds, badWordsTokenIds };
    const stops = new StopStrings(params.stop);
    this.#context = { tokenizer, eosTokenIds, maxModelLen, constraints, stops };
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

  /** Whether others may want to go on from its states. What is looked at once, as in an evaluation, is not kept. */
  get isCached(): boolean {
    return !(this.isEvaluation && this.wantsPromptLogits);
  }

  get isFinished(): boolean {
    return this.sequences.length === this.#numAnswers && this.sequences.every(({ finishReason }) => finishReason);
  }

  get numOutputTokens(): number {
    return this.sequences.reduce((sum, { numOutputTokens }) => sum + numOutputTokens, 0);
  }

  /** The answers beside the first, once the prompt is processed. */
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

  /** Hands the state at the end of the answer to who asked for it. Where the receiver fails, it is released again. */
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

  /** Once: for the first output. */
  takePromptLogprobs(): PromptLogprobs | undefined {
    const taken = this.#promptLogprobs;
    this.#promptLogprobs = undefined;
    return taken && new PromptLogprobs(taken);
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
    }
  }
}

/** What the engine calls a request, and where it stands among others. */
export type RequestPlace = Pick<Request, 'id' | 'order' | 'turn'>;

/** What requests take from their engine. */
export type EngineRequestContext = Omit<SequenceContext, 'constraints' | 'stops'>;
