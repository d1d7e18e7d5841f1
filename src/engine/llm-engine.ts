import { LAST_SAMPLED } from '../backends/contract/sampling.ts';
import { ArgumentError, ContextLengthError, EmptyPromptError, OutOfMemoryError, QueueFullError } from '../errors.ts';
import { asError } from '../util/as-error.ts';
import { shown } from '../util/shown.ts';
import { withResolvers } from '../util/with-resolvers.ts';
import type { EngineEventListener } from './engine-events.ts';
import { EngineMetrics } from './engine-metrics.ts';
import type { EngineStats } from './engine-stats.ts';
import type { EngineContext } from './load/engine-options.ts';
import type { EngineRequest } from './request/engine-request.ts';
import { OutputCollector } from './request/output-collector.ts';
import { type EngineRequestContext, Request, type Sequence } from './request/request.ts';
import type { FinishReason, RequestOutput } from './request/request-output.ts';
import type { ScheduledTokens, StepOutput } from './run/executor.ts';
import { ReloadableExecutor } from './run/reloadable-executor.ts';
import {
  confirmedGuesses,
  type Guess,
  isWatched,
  logitsRows,
  type SteppedSequence,
  sampleGuesses,
  sampleStep,
} from './schedule/sample-step.ts';
import { SavedStates } from './schedule/saved-states.ts';
import { type ScheduledWork, Scheduler } from './schedule/scheduler.ts';
import { StateManager } from './schedule/state-manager.ts';
import { PredictorDrafts } from './speculate/predictor-drafts.ts';
import { type DraftSource, Speculations } from './speculate/speculation.ts';
import { usesMtp } from './speculate/speculative-config.ts';
import { SharedStates, type SharedStatesSource } from './store/shared-states.ts';
import type { StateStoreEvent } from './store/store-events.ts';

const MIB = 2 ** 20;

/** Number of steps between two losses of memory. Below it, dropping the snapshots was not enough. */
const STEPS_BETWEEN_LOSSES = 1000;

/**
 * Time that a step waits for what tokens the forms of answers allow next, which comes within fractions of it unless the worker
 * compiles: then the others go on.
 */
const MASK_MILLISECONDS = 5;

/** A step that the executor has received. */
interface BegunStep {
  readonly scheduled: readonly ScheduledWork[];
  readonly sequences: ReadonlySet<Sequence>;
  /** Resolves to an OutOfMemoryError where memory was missing and the executor can continue without its states. */
  readonly output: Promise<StepOutput | OutOfMemoryError>;
  /** Requests that could not take part. */
  readonly failed: readonly FailedRequest[];
}

interface FailedRequest {
  readonly request: Request;
  readonly error: Error;
}

/** Requests that came in one call. */
interface RequestGroup {
  readonly unfinished: number;
  /** Turn of the group's next request. */
  readonly nextTurn: number;
}

/**
 * Continuous batching over an executor: requests in, outputs out, one step at a time. It waits for the executor only.
 * Requests may be added, aborted, paused and resumed between two steps, and during one.
 */
export class LLMEngine {
  /** States that outlive their requests: those of sessions. */
  readonly savedStates: SavedStates;
  /** Limit for the tokens of a prompt and its answer together. */
  readonly maxModelLen: number;
  readonly #vocabSize: number;
  readonly #maxQueueSize: number;
  readonly #requestContext: EngineRequestContext;
  readonly #executor: ReloadableExecutor;
  readonly #states: StateManager;
  readonly #scheduler: Scheduler;
  /** Present where several engines share states. */
  readonly #sharedStates: SharedStates | undefined;
  readonly #draftSource: DraftSource | undefined;
  readonly #metrics = new EngineMetrics();
  readonly #requests = new Map<string, Request>();
  /** Groups with unfinished requests, by their keys. */
  readonly #groups = new Map<symbol | string, RequestGroup>();
  #numAdded = 0;
  /** The executor's last failure that ended requests. */
  #knownFailure: Error | undefined;
  /** Number of the last step for which memory was missing. */
  #lostAtStep = Number.NEGATIVE_INFINITY;
  /** Whether snapshots held some of that memory. */
  #hasFreedSnapshots = false;
  /** Steps that were begun while others were still running, the oldest first. */
  #underWay: readonly BegunStep[] = [];

  /** @param onWork called when the executor has failed between two steps: a step is needed. */
  constructor(context: EngineContext, onWork: () => void = () => {}) {
    const { executor, tokenizer, maxNumSeqs, maxNumBatchedTokens } = context;
    this.#vocabSize = context.vocabSize;
    this.#maxQueueSize = context.maxQueueSize ?? Number.POSITIVE_INFINITY;
    this.#executor = new ReloadableExecutor(executor, {
      load: context.reloadExecutor,
      pause: context.reloadPause,
      onFailure: onWork,
      onLostStates: () => this.#restart(),
    });
    this.#states = new StateManager({
      slots: maxNumSeqs,
      footprint: executor.stateFootprint,
      enablePrefixCaching: context.enablePrefixCaching ?? true,
      prefixCacheBytes: context.prefixCacheBytes ?? 512 * MIB,
      snapshotInterval: context.snapshotInterval ?? 256,
    });
    this.maxModelLen = Math.min(context.maxModelLen ?? Number.POSITIVE_INFINITY, this.#states.maxSequenceTokens);
    const { maxModelLen } = this;
    const { vocabSize } = context;
    const { speculativeConfig, draftSource } = context;
    this.#draftSource = usesMtp(speculativeConfig) ? this.#ownDrafts() : draftSource;
    const speculations = speculativeConfig && new Speculations(speculativeConfig, this.#draftSource);
    const eosTokenIds = new Set(context.eosTokenIds);
    this.#requestContext = { tokenizer, eosTokenIds, maxModelLen, vocabSize, speculations };
    const { maxConcurrentBatches = 1, maxBatchedTokens = Number.POSITIVE_INFINITY, promptAlignment } = executor;
    // The steps under way together have as many tokens as one alone.
    const mostTokens = Math.min(Math.ceil(maxNumBatchedTokens / maxConcurrentBatches), maxBatchedTokens);
    const limits = { maxNumBatchedTokens: mostTokens, vocabSize, maxConcurrentBatches, promptAlignment };
    this.#scheduler = new Scheduler(this.#states, limits, executor.samplesTokens ?? false);
    this.savedStates = new SavedStates(this.#executor, this.#states);
    this.#sharedStates = context.sharedStates && this.#share(context.sharedStates, onWork);
  }

  /**
   * Processes some tokens of some requests, and returns their new outputs. Does not reject: a request that fails ends
   * alone, with the error in its output. If the executor fails, or the engine itself, all running requests end so.
   */
  async step(): Promise<RequestOutput[]> {
    if (this.#executor.failure) return this.#afterFailure(this.#executor.failure);
    try {
      const begin = performance.now();
      const masks = this.#scheduler.requestMasks();
      if (masks && this.#underWay.length === 0) await within(masks, MASK_MILLISECONDS);
      const drafting = await this.#prepareDrafts();
      const [step = this.#begin(this.#scheduler.schedule()), ...later] = this.#underWay;
      this.#underWay = later;
      this.#beginMore(step);
      const output = await step.output;
      if (output instanceof OutOfMemoryError) return this.#outOfMemory(step.scheduled, output);
      const missing = masksOf(step.scheduled);
      if (missing) await within(missing, MASK_MILLISECONDS);
      const stepped = await sampleStep(step.scheduled, output, this.#vocabSize);
      const collector = new OutputCollector();
      this.#postprocess(stepped, step.failed, collector);
      await this.#checkGuesses(stepped, collector);
      this.#metrics.step(step.scheduled, begin);
      this.#requestContext.speculations?.costs.step(step.scheduled, {
        seconds: (performance.now() - begin) / 1000,
        drafting,
      });
      if (output.logits.length > 0) this.#executor.recycle(output.logits);
      // Steps all of whose sequences have ended are dropped.
      this.#underWay = this.#underWay.filter(isAwaited);
      return collector.outputs();
    } catch (error) {
      return this.#executorFailed(asError(error));
    }
  }

  /**
   * Accepts a request and returns its id.
   * @throws QueueFullError; EmptyPromptError; ContextLengthError; ArgumentError when an unfinished request has the id;
   * the executor's error when it has failed for good.
   */
  addRequest(source: EngineRequest): string {
    if (this.#executor.failure && !this.#executor.canReload) throw this.#executor.failure;
    checkRequest(source, this.maxModelLen);
    const id = source.requestId ?? this.#newId();
    if (this.#requests.has(id)) {
      throw new ArgumentError(`There is an unfinished request '${id}'.`, 'Give each request an id of its own.');
    }
    const key = source.group ?? id;
    const group = this.#groups.get(key) ?? { unfinished: 0, nextTurn: 0 };
    if (group.unfinished === 0) this.#refuseWhenFull();
    const turn = Math.max(group.nextTurn, this.#scheduler.turn);
    const request = new Request(source, { id, order: this.#numAdded++, turn }, this.#requestContext);
    this.#groups.set(key, { unfinished: group.unfinished + 1, nextTurn: turn + source.params.n });
    this.#requests.set(id, request);
    this.#scheduler.add(request.sequences[0]);
    this.#sharedStates?.bringIn(request);
    return id;
  }

  /** Drops a request and frees its slots at once. Returns false if there is no such unfinished request. */
  abortRequest(id: string): boolean {
    const request = this.#requests.get(id);
    if (request) this.#end(request, 'abort');
    return request !== undefined;
  }

  /** A paused request takes part in no step, and keeps its slots only while no other request needs them. */
  setPaused(id: string, isPaused: boolean): void {
    const request = this.#requests.get(id);
    if (request) request.isPaused = isPaused;
  }

  /** Number of sequences that can run plus requests that can wait. */
  get capacity(): number {
    return this.#states.numSlots + this.#maxQueueSize;
  }

  hasUnfinishedRequests(): boolean {
    return this.#requests.size > 0;
  }

  /** Whether a step would do something; false if all requests are paused. */
  hasWork(): boolean {
    const { failure, canReload } = this.#executor;
    return canReload || failure !== this.#knownFailure || this.#underWay.length > 0 || this.#scheduler.hasWork;
  }

  stats(): EngineStats {
    const running = new Set(this.#scheduler.running.map(({ request }) => request)).size;
    return {
      ...this.#metrics.counts(),
      speculation: this.#requestContext.speculations && this.#metrics.guesses(),
      waitingRequests: this.#requests.size - running,
      runningRequests: running,
      slots: this.#states.numSlots,
      freeSlots: this.#states.numFreeSlots,
      blocks: this.#states.numBlocks,
      freeBlocks: this.#states.numFreeBlocks,
      preemptions: this.#scheduler.preemptions,
      prefixCache: this.#states.cacheStats(),
      stateStore: this.#sharedStates?.stats(),
    };
  }

  /** @returns ends the listening. */
  onEvent(listener: EngineEventListener): () => void {
    return this.#metrics.listen(listener);
  }

  /** The failure for which no request can run any more, once it has ended all requests. */
  get dead(): Error | undefined {
    const { failure, canReload } = this.#executor;
    return failure === this.#knownFailure && !canReload ? failure : undefined;
  }

  /** Tells listeners that the engine can't be trusted any more. */
  reportDeath(error: Error): void {
    this.#metrics.died(error);
  }

  /** @throws IntegrityError if slots, blocks, counts and requests contradict each other. */
  checkIntegrity(): void {
    this.#scheduler.checkIntegrity(this.#requests.values());
  }

  /** Resolves when states that wait for it have been put into the store, or at the signal. */
  async flushStates(signal?: AbortSignal): Promise<void> {
    await this.#sharedStates?.flush(signal);
  }

  /** Drops unfinished requests and disposes of the executor. */
  async dispose(): Promise<void> {
    for (const request of [...this.#requests.values()]) this.#end(request, 'abort');
    await this.#sharedStates?.dispose();
    await this.#draftSource?.dispose();
    await this.#executor.dispose();
  }

  /** Guesses of the model itself. */
  #ownDrafts(): DraftSource {
    return new PredictorDrafts({
      guess: (batch) => this.#executor.guess(batch),
      takeCommands: () => this.#states.takeCommands(),
    });
  }

  #share(source: SharedStatesSource, onReady: () => void): SharedStates {
    const [states, savedStates, vocabSize] = [this.#states, this.savedStates, this.#vocabSize];
    const onEvent = (event: StateStoreEvent) => this.#metrics.stateStore(event);
    const shared = new SharedStates({ ...source, states, savedStates, vocabSize, onEvent, onReady });
    this.#metrics.listen((event) => {
      if (event.type === 'step') shared.stepped(event.prefillTokens, event.seconds);
    });
    return shared;
  }

  /** Lets the source of guesses make those of the next step. @returns seconds that it took. */
  async #prepareDrafts(): Promise<number> {
    if (!this.#draftSource || this.#underWay.length > 0) return 0;
    const begin = performance.now();
    await this.#draftSource.prepare(this.#scheduler.draftRequests(this.#draftSource.readsStates));
    return (performance.now() - begin) / 1000;
  }

  /** Begins steps after those that are still running, as far as these can't change them: so the executor is never idle. */
  #beginMore(step: BegunStep): void {
    if (step.failed.length > 0) return;
    for (;;) {
      const next = this.#scheduler.scheduleAfter([step, ...this.#underWay].map(({ scheduled }) => scheduled));
      if (!next) return;
      this.#underWay = [...this.#underWay, this.#begin(next)];
    }
  }

  /** Sends a step to the executor. */
  #begin(chosen: readonly ScheduledWork[]): BegunStep {
    const failed: FailedRequest[] = this.#scheduler
      .takeFailures()
      .map(({ sequence, error }) => ({ request: sequence.request, error }));
    const scheduled: ScheduledWork[] = [];
    const sequences: ScheduledTokens[] = [];
    for (const work of chosen) {
      try {
        if (work.numTokens > 0) sequences.push(scheduledTokens(work));
        scheduled.push(work);
      } catch (error) {
        failed.push({ request: work.sequence.request, error: asError(error) });
      }
    }
    const output = this.#execute(sequences);
    // Otherwise an error would end the process if this step is never awaited.
    output.catch(() => {});
    return { scheduled, sequences: new Set(scheduled.map(({ sequence }) => sequence)), output, failed };
  }

  async #execute(sequences: readonly ScheduledTokens[]): Promise<StepOutput | OutOfMemoryError> {
    const commands = this.#states.takeCommands();
    if (sequences.length === 0 && commands.length === 0) return { logits: new Float32Array() };
    try {
      return await this.#executor.execute({ commands, sequences, logits: 'last' });
    } catch (error) {
      if (error instanceof OutOfMemoryError && !this.#executor.failure) return error;
      throw error;
    }
  }

  /** Turns a step's results into outputs, and saves or frees each sequence's state. */
  #postprocess(
    stepped: readonly SteppedSequence[],
    failed: readonly FailedRequest[],
    collector: OutputCollector,
  ): void {
    for (const { request, error } of failed) if (!request.isEnded) this.#fail(request, error, collector);
    for (const each of stepped) {
      const { request } = each.sequence;
      if (request.isEnded) continue;
      try {
        this.#accept(each, collector);
      } catch (error) {
        // Text, logprobs, snapshots and receivers belong to this request alone, so their errors do too.
        if (!request.isEnded) this.#fail(request, asError(error), collector);
      }
    }
  }

  /**
   * Continues answers whose guessed tokens are right. Each further token is chosen and accepted as if it came from a step of its
   * own, from the logits of this one or from what the executor chose.
   */
  async #checkGuesses(begun: readonly SteppedSequence[], collector: OutputCollector): Promise<void> {
    const onOver = ({ sequence, drafts, accepted }: Guess) => {
      sequence.endGuess(drafts.length, accepted);
      this.#metrics.guess(drafts.length, accepted);
    };
    for (let stepped = begun; ; ) {
      const guesses = confirmedGuesses(stepped, onOver);
      if (guesses.length === 0) return;
      const missing = masksOf(guesses);
      if (missing) await within(missing, MASK_MILLISECONDS);
      stepped = await sampleGuesses(guesses, this.#vocabSize, onOver);
      this.#postprocess(stepped, [], collector);
    }
  }

  /** Adds a sequence's next token to the outputs. @throws any error, which ends the request. */
  #accept({ sequence, logits, sample }: SteppedSequence, collector: OutputCollector): void {
    const { request } = sequence;
    if (sample instanceof Error) throw sample;
    const completion = sample ? sequence.append(sample) : sequence.endEvaluation();
    if (completion) collector.add(request, completion);
    if (sample) this.#metrics.token(sequence);
    this.#settle(sequence, logits);
    if (request.isFinished) this.#end(request, request.sequences[0].finishReason ?? 'length');
  }

  /** Saves a sequence's state where other requests may continue from it, and frees the slot of one that has ended. */
  #settle(sequence: Sequence, logits: Float32Array | undefined): void {
    const { request, slot, finishReason } = sequence;
    if (finishReason) {
      this.#states.save(sequence, logits);
      this.#sharedStates?.putOut(sequence, logits);
      request.receiveFinalState(
        () => this.#states.savePinned(sequence, logits),
        (snapshot) => this.#states.unpin(snapshot),
      );
      this.#scheduler.remove(sequence);
      sequence.endGrammar();
    } else if (slot === undefined) {
      this.#scheduler.addFork(request.sequences[0], sequence);
    } else if (!this.#underWay.some(({ sequences }) => sequences.has(sequence))) {
      this.#states.saveInPassing(sequence, logits);
    } else if (logits) {
      // The slot has a later state: what is to be saved was saved when that step was scheduled.
      this.#states.addLogits(sequence, logits);
    }
  }

  /**
   * Lets the running sequences be computed again: first with the memory of the snapshots, then in smaller steps. Fails
   * requests only if memory is missing for a step of one token.
   */
  #outOfMemory(scheduled: readonly ScheduledWork[], error: Error): RequestOutput[] {
    const { steps } = this.#metrics.counts();
    const isRare = steps >= this.#lostAtStep + STEPS_BETWEEN_LOSSES;
    this.#lostAtStep = steps;
    if (isRare && this.#hasFreedSnapshots) return [];
    const numTokens = scheduled.reduce((sum, work) => sum + work.numTokens + work.drafts.length, 0);
    if (this.#scheduler.shrinkSteps(numTokens)) return [];
    return this.#failAll(new Set(scheduled.map(({ sequence }) => sequence.request)), error);
  }

  #restart(): void {
    this.#underWay = [];
    this.#hasFreedSnapshots = this.#states.resetStates();
    this.#scheduler.restart();
  }

  /** Loads a failed executor again, after a step that tells of its failure. */
  async #afterFailure(failure: Error): Promise<RequestOutput[]> {
    return failure === this.#knownFailure ? this.#recover() : this.#executorFailed(failure);
  }

  #executorFailed(error: Error): RequestOutput[] {
    this.#underWay = [];
    if (this.#executor.isDisposed) return [];
    this.#executor.fail(error);
    this.#knownFailure = this.#executor.failure;
    this.#metrics.executorFailed(error);
    if (!this.#executor.canReload) this.#metrics.died(error);
    this.#states.forgetSnapshots();
    const running = new Set(this.#scheduler.running.map(({ request }) => request));
    return this.#failAll(this.#executor.canReload ? running : this.#requests.values(), error);
  }

  /** Loads the executor again. Waiting requests have lost nothing: states are computed again from their tokens. */
  async #recover(): Promise<RequestOutput[]> {
    if (!this.#executor.canReload) return [];
    const begin = performance.now();
    try {
      await this.#executor.reload((error, pause) => this.#metrics.reloadFailed(error, pause));
    } catch (error) {
      this.#knownFailure = this.#executor.failure;
      this.#metrics.died(asError(error));
      return this.#failAll(this.#requests.values(), asError(error));
    }
    if (this.#executor.isDisposed) return [];
    this.#knownFailure = undefined;
    this.#metrics.recovered(begin);
    return [];
  }

  #failAll(requests: Iterable<Request>, error: Error): RequestOutput[] {
    const collector = new OutputCollector();
    for (const request of [...requests]) this.#fail(request, error, collector);
    return collector.outputs();
  }

  #fail(request: Request, error: Error, collector: OutputCollector): void {
    collector.fail(request, error);
    this.#end(request, 'error');
  }

  #end(request: Request, reason: FinishReason | 'abort' | 'error'): void {
    request.isEnded = true;
    this.#sharedStates?.forget(request);
    for (const sequence of request.sequences) {
      this.#scheduler.remove(sequence);
      sequence.endGrammar();
    }
    this.#requests.delete(request.id);
    const group = this.#groups.get(request.group);
    if (group && group.unfinished > 1) this.#groups.set(request.group, { ...group, unfinished: group.unfinished - 1 });
    else this.#groups.delete(request.group);
    this.#metrics.finished(request, reason);
  }

  #refuseWhenFull(): void {
    if (this.#maxQueueSize === Number.POSITIVE_INFINITY) return;
    const { waiting } = this.#scheduler;
    const free = this.#states.numFreeSlots;
    // Sequences that have a free slot wait for the next step only.
    if (waiting.length < free) return;
    const begun = new Set(waiting.slice(0, free).map(({ request }) => request.group));
    for (const request of this.#requests.values()) if (request.startedAt !== undefined) begun.add(request.group);
    const queued = new Set(waiting.map(({ request }) => request.group).filter((group) => !begun.has(group)));
    if (queued.size < this.#maxQueueSize) return;
    this.#metrics.refused();
    throw new QueueFullError(
      `${queued.size} requests are waiting, which is the limit (maxQueueSize).`,
      'Try again later.',
    );
  }

  #newId(): string {
    let id = `${this.#numAdded}`;
    while (this.#requests.has(id)) id += "'";
    return id;
  }
}

/** Whether a step gives something to a sequence or a request. */
function isAwaited({ scheduled, failed }: BegunStep): boolean {
  return failed.length > 0 || scheduled.some(({ sequence }) => sequence.slot !== undefined);
}

/** Resolves when the tokens that may come next are known of all that a step was computed for; undefined where they are. */
function masksOf(scheduled: readonly Pick<ScheduledWork, 'sequence'>[]): Promise<unknown> | undefined {
  const isPending = ({ sequence }: Pick<ScheduledWork, 'sequence'>) =>
    sequence.slot !== undefined && sequence.isMaskPending;
  const asked = scheduled.filter(isPending).map((work) => [work, work.sequence.maskReady()] as const);
  const missing = asked.filter(([work]) => isPending(work));
  return missing.length === 0 ? undefined : Promise.all(missing.map(([, ready]) => ready));
}

/** Waits for a promise, but no longer than so. */
async function within(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  const late = withResolvers();
  const timer = setTimeout(late.resolve, milliseconds);
  await Promise.race([promise, late.promise]);
  clearTimeout(timer);
}

/** A sequence's part in a step as the executor takes it. */
function scheduledTokens(work: ScheduledWork): ScheduledTokens {
  const { sequence, begin, numTokens, drafts, isAhead, isSampled, givesLogits } = work;
  const { slot = -1, blocks, tokenIds, request } = sequence;
  const isTentative = drafts.length > 0;
  return {
    slot,
    blocks,
    numComputedTokens: begin,
    tokenIds: isAhead ? [LAST_SAMPLED] : [...tokenIds.slice(begin, begin + numTokens), ...drafts],
    isTentative,
    logits: isTentative ? 'all' : logitsRows(request),
    sampling: isSampled ? sequence.tokenSamplings(drafts) : undefined,
    givesLogits: givesLogits || undefined,
    watch: isWatched(request),
  };
}

function checkRequest({ promptTokenIds, params, grammar, priority = 0 }: EngineRequest, maxModelLen: number): void {
  const { length } = promptTokenIds;
  if (length === 0) throw new EmptyPromptError('The prompt has no tokens.', 'Give at least one.');
  // An answer needs room for one token at least.
  if (length + Math.min(params.maxTokens, 1) > maxModelLen) {
    throw new ContextLengthError(
      `The prompt has ${length} tokens; prompt and answer may have ${maxModelLen} together.`,
      'Shorten it, or load the model with more kvCacheMemoryBytes or another maxModelLen.',
    );
  }
  if (params.structuredOutputs && !grammar && params.maxTokens > 0) {
    const problem = 'params has structuredOutputs, but the request has no grammar.';
    throw new ArgumentError(problem, 'Give what llm.compileGrammar(params) returns.');
  }
  if (!Number.isFinite(priority))
    throw new ArgumentError(`priority is ${shown(priority)}.`, 'Use a number: lower goes first.');
}
