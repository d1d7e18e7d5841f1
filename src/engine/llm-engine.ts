import { LAST_SAMPLED } from '../backends/contract/sampling.ts';
import { ArgumentError, ContextLengthError, EmptyPromptError, OutOfMemoryError, QueueFullError } from '../errors.ts';
import { asError } from '../util/as-error.ts';
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
  isWatched,
  logitsRows,
  receivePromptLogits,
  type SteppedSequence,
  sampleStep,
} from './schedule/sample-step.ts';
import { SavedStates } from './schedule/saved-states.ts';
import { type ScheduledWork, Scheduler } from './schedule/scheduler.ts';
import { StateManager } from './schedule/state-manager.ts';

const MIB = 2 ** 20;

/** Where memory was missing twice in so many steps, it was not only the snapshots that took it. */
const STEPS_BETWEEN_LOSSES = 1000;

/** A step that the executor has been told of. */
interface BegunStep {
  readonly scheduled: readonly ScheduledWork[];
  readonly output: Promise<StepOutput>;
  /** Requests that could not take part. */
  readonly failed: readonly FailedRequest[];
}

interface FailedRequest {
  readonly request: Request;
  readonly error: Error;
}

/** Requests that came together. */
interface RequestGroup {
  readonly unfinished: number;
  /** Turn of the next request that joins the group. */
  readonly nextTurn: number;
}

/**
 * Requests in, outputs out, one step at a time: continuous batching over an executor. Nothing here waits for anything
 * but the executor. Requests may be added, aborted, paused and resumed between two steps, and during one.
 */
export class LLMEngine {
  /** For those who hold on to states, such as sessions. */
  readonly savedStates: SavedStates;
  /** Tokens of a prompt and its answer together. */
  readonly maxModelLen: number;
  readonly #vocabSize: number;
  readonly #maxQueueSize: number;
  readonly #requestContext: EngineRequestContext;
  readonly #executor: ReloadableExecutor;
  readonly #states: StateManager;
  readonly #scheduler: Scheduler;
  readonly #metrics = new EngineMetrics();
  readonly #requests = new Map<string, Request>();
  /** Groups that have unfinished requests, by their keys. */
  readonly #groups = new Map<symbol | string, RequestGroup>();
  #numAdded = 0;
  /** The executor's last failure that ended requests. */
  #knownFailure: Error | undefined;
  /** When memory was missing the last time, and whether snapshots had some of it. */
  #lostAtStep = Number.NEGATIVE_INFINITY;
  #hasFreedSnapshots = false;
  /** Begun while the step before was running. */
  #ahead: BegunStep | undefined;

  /** @param onWork is called when there is work although nobody has asked for any. */
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
    this.#requestContext = { tokenizer, eosTokenIds: new Set(context.eosTokenIds), maxModelLen };
    const mostTokens = Math.min(maxNumBatchedTokens, executor.maxBatchedTokens ?? Number.POSITIVE_INFINITY);
    const limits = { maxNumBatchedTokens: mostTokens, vocabSize: context.vocabSize };
    this.#scheduler = new Scheduler(this.#states, limits, executor.samplesTokens ?? false);
    this.savedStates = new SavedStates(this.#executor, this.#states);
  }

  /**
   * Processes some tokens of some requests; → what is new of them. Does not reject: a request that fails ends alone, with
   * its error in its output. All that run end so when the executor fails, or the engine itself.
   */
  async step(): Promise<RequestOutput[]> {
    const { failure } = this.#executor;
    if (failure) return failure === this.#knownFailure ? this.#recover() : this.#executorFailed(failure);
    try {
      return await this.#step();
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
    return id;
  }

  /** Drops a request; its slots are free at once. False: there is no such unfinished request. */
  abortRequest(id: string): boolean {
    const request = this.#requests.get(id);
    if (request) this.#end(request, 'abort');
    return request !== undefined;
  }

  /** A paused request takes part in no step, and keeps its slots only while nobody else needs them. */
  setPaused(id: string, isPaused: boolean): void {
    const request = this.#requests.get(id);
    if (request) request.isPaused = isPaused;
  }

  /** Sequences that can run and requests that can wait, together. */
  get capacity(): number {
    return this.#states.numSlots + this.#maxQueueSize;
  }

  hasUnfinishedRequests(): boolean {
    return this.#requests.size > 0;
  }

  /** Whether a step would do something; not if all requests are paused. */
  hasWork(): boolean {
    const { failure, canReload } = this.#executor;
    return canReload || failure !== this.#knownFailure || this.#ahead !== undefined || this.#scheduler.hasWork;
  }

  stats(): EngineStats {
    const running = new Set(this.#scheduler.running.map(({ request }) => request)).size;
    return {
      ...this.#metrics.counts(),
      waitingRequests: this.#requests.size - running,
      runningRequests: running,
      slots: this.#states.numSlots,
      freeSlots: this.#states.numFreeSlots,
      blocks: this.#states.numBlocks,
      freeBlocks: this.#states.numFreeBlocks,
      preemptions: this.#scheduler.preemptions,
      prefixCache: this.#states.cacheStats(),
    };
  }

  /** @returns ends the listening. */
  onEvent(listener: EngineEventListener): () => void {
    return this.#metrics.listen(listener);
  }

  /** Why it can run no request any more, once all have ended for it. */
  get dead(): Error | undefined {
    const { failure, canReload } = this.#executor;
    return failure === this.#knownFailure && !canReload ? failure : undefined;
  }

  /** Tells those who listen that the engine can't be trusted any more. */
  reportDeath(error: Error): void {
    this.#metrics.died(error);
  }

  /** @throws IntegrityError when the books contradict each other. */
  checkIntegrity(): void {
    this.#scheduler.checkIntegrity(this.#requests.values());
  }

  /** Drops what is unfinished, and the executor with it. */
  async dispose(): Promise<void> {
    for (const request of [...this.#requests.values()]) this.#end(request, 'abort');
    await this.#executor.dispose();
  }

  async #step(): Promise<RequestOutput[]> {
    const begin = performance.now();
    const { scheduled, output: pending, failed } = this.#ahead ?? this.#begin(this.#scheduler.schedule());
    // The next step waits behind this one where this one can't change it: the executor is never idle then.
    const next = failed.length === 0 ? this.#scheduler.scheduleAhead(scheduled) : undefined;
    this.#ahead = next && this.#begin(next);
    let output: StepOutput;
    try {
      output = await pending;
    } catch (error) {
      if (!(error instanceof OutOfMemoryError) || this.#executor.failure) throw error;
      return this.#outOfMemory(scheduled, error);
    }
    const failures = scheduled.some(({ sequence }) => sequence.request.wantsPromptLogits)
      ? await receivePromptLogits(scheduled, output, this.#vocabSize)
      : new Map();
    const stepped = await sampleStep(scheduled, output, this.#vocabSize, failures);
    const outputs = this.#postprocess(stepped, failed);
    this.#metrics.step(scheduled, begin);
    if (output.logits.length > 0) this.#executor.recycle(output.logits);
    // Nobody is left who wants to know.
    if (!this.#ahead?.scheduled.some(({ sequence }) => sequence.slot !== undefined)) this.#ahead = undefined;
    return outputs;
  }

  #begin(planned: readonly ScheduledWork[]): BegunStep {
    const failed: FailedRequest[] = this.#scheduler
      .takeFailures()
      .map(({ sequence, error }) => ({ request: sequence.request, error }));
    const scheduled: ScheduledWork[] = [];
    const sequences: ScheduledTokens[] = [];
    for (const work of planned) {
      try {
        if (work.numTokens > 0) sequences.push(scheduledTokens(work));
        scheduled.push(work);
      } catch (error) {
        failed.push({ request: work.sequence.request, error: asError(error) });
      }
    }
    const output = this.#execute(sequences);
    // A step that nobody waits for any more may fail unheard.
    output.catch(() => {});
    return { scheduled, output, failed };
  }

  async #execute(sequences: readonly ScheduledTokens[]): Promise<StepOutput> {
    const commands = this.#states.takeCommands();
    if (sequences.length === 0 && commands.length === 0) return { logits: new Float32Array() };
    return this.#executor.execute({ commands, sequences, logits: 'last' });
  }

  #postprocess(stepped: readonly SteppedSequence[], failed: readonly FailedRequest[]): RequestOutput[] {
    const collector = new OutputCollector();
    for (const { request, error } of failed) if (!request.isEnded) this.#fail(request, error, collector);
    for (const each of stepped) {
      const { request } = each.sequence;
      if (request.isEnded) continue;
      try {
        this.#accept(each, collector);
      } catch (error) {
        // Whatever it is (text, logprobs, a snapshot, a receiver), it is this request's.
        if (!request.isEnded) this.#fail(request, asError(error), collector);
      }
    }
    return collector.outputs();
  }

  /** Turns a sequence's next token into what is new of its request. @throws what ends the request. */
  #accept({ sequence, logits, sample }: SteppedSequence, collector: OutputCollector): void {
    const { request } = sequence;
    if (sample instanceof Error) throw sample;
    const completion = sample ? sequence.append(sample) : sequence.endEvaluation();
    if (completion) collector.add(request, completion);
    if (sample) this.#metrics.token(sequence);
    this.#settle(sequence, logits);
    if (request.isFinished) this.#end(request, request.sequences[0].finishReason ?? 'length');
  }

  /** Keeps a sequence's state where others may go on from it, and takes its slot back when it is over. */
  #settle(sequence: Sequence, logits: Float32Array | undefined): void {
    const { request, slot, finishReason } = sequence;
    if (finishReason) {
      this.#states.save(sequence, logits);
      request.receiveFinalState(
        () => this.#states.savePinned(sequence, logits),
        (snapshot) => this.#states.unpin(snapshot),
      );
      this.#scheduler.remove(sequence);
    } else if (slot === undefined) {
      this.#scheduler.addFork(request.sequences[0], sequence);
    } else {
      this.#states.saveInPassing(sequence, logits);
    }
  }

  /**
   * What runs is computed again, first with the memory of the snapshots, then in smaller steps. Only what asks for too much
   * even token by token ends.
   */
  #outOfMemory(scheduled: readonly ScheduledWork[], error: Error): RequestOutput[] {
    const { steps } = this.#metrics.counts();
    const isRare = steps >= this.#lostAtStep + STEPS_BETWEEN_LOSSES;
    this.#lostAtStep = steps;
    if (isRare && this.#hasFreedSnapshots) return [];
    const numTokens = scheduled.reduce((sum, work) => sum + work.numTokens, 0);
    if (this.#scheduler.shrinkSteps(numTokens)) return [];
    return this.#failAll(new Set(scheduled.map(({ sequence }) => sequence.request)), error);
  }

  #restart(): void {
    this.#ahead = undefined;
    this.#hasFreedSnapshots = this.#states.resetStates();
    this.#scheduler.restart();
  }

  #executorFailed(error: Error): RequestOutput[] {
    this.#ahead = undefined;
    if (this.#executor.isDisposed) return [];
    this.#executor.fail(error);
    this.#knownFailure = this.#executor.failure;
    this.#metrics.executorFailed(error);
    if (!this.#executor.canReload) this.#metrics.died(error);
    this.#states.forgetSnapshots();
    const running = new Set(this.#scheduler.running.map(({ request }) => request));
    return this.#failAll(this.#executor.canReload ? running : this.#requests.values(), error);
  }

  /** Loads the executor again. What waits has lost nothing: states are computed again from their tokens. */
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
    for (const sequence of request.sequences) this.#scheduler.remove(sequence);
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
    // Those that could begin now do not wait for anything but the next step.
    if (waiting.length < free) return;
    const begun = new Set(waiting.slice(0, free).map(({ request }) => request.group));
    for (const request of this.#requests.values()) if (request.startedAt !== undefined) begun.add(request.group);
    const queued = new Set(waiting.map(({ request }) => request.group).filter((group) => !begun.has(group)));
    if (queued.size < this.#maxQueueSize) return;
    this.#metrics.refused();
    throw new QueueFullError(`${queued.size} requests wait already, as many as may.`, 'Try again later.');
  }

  #newId(): string {
    let id = `${this.#numAdded}`;
    while (this.#requests.has(id)) id += "'";
    return id;
  }
}

/** A sequence's part in a step as the executor takes it. */
function scheduledTokens({ sequence, numTokens, isAhead, isSampled }: ScheduledWork): ScheduledTokens {
  const { slot = -1, blocks, tokenIds, request } = sequence;
  const numComputedTokens = sequence.numComputedTokens + (isAhead ? 1 : 0);
  return {
    slot,
    blocks,
    numComputedTokens,
    tokenIds: isAhead ? [LAST_SAMPLED] : tokenIds.slice(numComputedTokens, numComputedTokens + numTokens),
    logits: logitsRows(request),
    sampling: isSampled ? sequence.tokenSampling() : undefined,
    watch: isWatched(request),
  };
}

function checkRequest({ promptTokenIds, params, priority = 0 }: EngineRequest, maxModelLen: number): void {
  const { length } = promptTokenIds;
  if (length === 0) throw new EmptyPromptError('The prompt has no tokens.', 'Give at least one.');
  // Whatever is generated, there must be room for its first token.
  if (length + Math.min(params.maxTokens, 1) > maxModelLen) {
    throw new ContextLengthError(
      `The prompt has ${length} tokens; prompt and answer may have ${maxModelLen} here.`,
      'Shorten it, or load the model with more kvCacheMemoryBytes or another maxModelLen.',
    );
  }
  if (!Number.isFinite(priority))
    throw new ArgumentError(`priority is ${priority}.`, 'Use a number: lower goes first.');
}
