import { yieldToEventLoop } from '../distributed/event-loop.ts';
import { DisposedError, ShutdownError } from '../errors.ts';
import { asError } from '../util/as-error.ts';
import type { EngineEventListener } from './engine-events.ts';
import type { EngineStats } from './engine-stats.ts';
import { LLMEngine } from './llm-engine.ts';
import type { EngineContext } from './load/engine-options.ts';
import type { EngineRequest } from './request/engine-request.ts';
import type { RequestOutput } from './request/request-output.ts';
import { RequestStream } from './request/request-stream.ts';
import type { SavedStates } from './schedule/saved-states.ts';

const DEFAULT_MAX_UNREAD_TOKENS = 4096;

/** Options of a shutdown: what becomes of accepted requests. */
export interface ShutdownOptions {
  /** Whether accepted requests are finished; otherwise they end with ShutdownError now. Default: true. */
  readonly drain?: boolean | undefined;
  /** Ends the draining: unfinished requests then end with ShutdownError. */
  readonly signal?: AbortSignal | undefined;
}

/** A reader of the engine. */
interface Reader {
  readonly stream: RequestStream;
  readonly maxUnreadTokens: number;
  /** The request is over: stops listening to its signal. */
  readonly detach: () => void;
}

/**
 * Runs an `LLMEngine` for many callers: steps as long as there is work, with a turn of the event loop between two
 * steps, and gives every request a stream of its own.
 *
 * @example
 * ```ts
 * const stopListening = llm.engine.onEvent((event) => console.warn(event.type));
 * console.log(llm.engine.stats().runningRequests);
 * await llm.engine.shutdown({ signal: AbortSignal.timeout(30_000) });
 * ```
 */
export class AsyncLLMEngine {
  readonly #engine: LLMEngine;
  readonly #maxUnreadTokens: number;
  readonly #readers = new Map<string, Reader>();
  /** Why it takes no requests any more. */
  #closed: Error | undefined;
  #isRunning = false;
  /** Called when the last request is over. */
  readonly #onDrained = new Set<() => void>();

  constructor(context: EngineContext) {
    this.#engine = new LLMEngine(context, () => this.#start());
    this.#maxUnreadTokens = context.maxUnreadTokens ?? DEFAULT_MAX_UNREAD_TOKENS;
  }

  /** States that outlive their requests: those of sessions. */
  get savedStates(): SavedStates {
    return this.#engine.savedStates;
  }

  /** Tokens of a prompt and its answer together: `maxModelLen`, or what the key-value cache holds of one sequence. */
  get maxModelLen(): number {
    return this.#engine.maxModelLen;
  }

  /** Tokens of a request that may lie unread before it waits for its reader. */
  get maxUnreadTokens(): number {
    return this.#maxUnreadTokens;
  }

  /** Answers that can run and requests that can wait (`maxQueueSize`), together. */
  get capacity(): number {
    return this.#engine.capacity;
  }

  /** Why it takes no requests any more; undefined as long as it does. */
  get closed(): Error | undefined {
    return this.#closed;
  }

  /**
   * Accepts a request, whose outputs come from the stream. Leaving the stream, or aborting the signal, drops the request
   * before the next step; the stream then rejects with the signal's reason.
   *
   * @throws QueueFullError, ShutdownError, DisposedError; ArgumentError when an unfinished request has the id; the
   * signal's reason; the executor's error when it has failed for good.
   */
  addRequest(request: EngineRequest, signal?: AbortSignal): RequestStream {
    signal?.throwIfAborted();
    if (this.#closed) throw this.#closed;
    const requestId = this.#engine.addRequest(request);
    const abort = () => this.#drop(requestId, { reason: signal?.reason });
    const stream = new RequestStream(requestId, {
      onRead: () => this.#resume(requestId),
      onReturn: () => this.#drop(requestId),
    });
    const { maxUnreadTokens = this.#maxUnreadTokens } = request;
    const detach = () => signal?.removeEventListener('abort', abort);
    this.#readers.set(requestId, { stream, maxUnreadTokens, detach });
    signal?.addEventListener('abort', abort, { once: true });
    this.#start();
    return stream;
  }

  /** Drops a request; its stream rejects with the reason. False: there is no such unfinished request. */
  abortRequest(requestId: string, reason: unknown): boolean {
    return this.#drop(requestId, { reason });
  }

  stats(): EngineStats {
    return this.#engine.stats();
  }

  /** @returns ends the listening. */
  onEvent(listener: EngineEventListener): () => void {
    return this.#engine.onEvent(listener);
  }

  /** @throws IntegrityError if slots, blocks, counts and requests contradict each other; checked when it is idle, too. */
  checkIntegrity(): void {
    this.#engine.checkIntegrity();
  }

  /**
   * Takes no more requests, and resolves when all that were accepted have ended, and their states are in the shared store,
   * if there is one. The model stays loaded. May be called again, also to end the waiting.
   */
  async shutdown({ drain = true, signal }: ShutdownOptions = {}): Promise<void> {
    this.#closed ??= new ShutdownError('The engine is shutting down.', 'Send the request to another server, or later.');
    if (drain && this.#readers.size > 0 && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#onDrained.delete(done);
          signal?.removeEventListener('abort', done);
          resolve();
        };
        this.#onDrained.add(done);
        signal?.addEventListener('abort', done, { once: true });
      });
    }
    for (const requestId of [...this.#readers.keys()]) {
      const problem = `Request '${requestId}' was not finished before the engine shut down.`;
      this.#drop(requestId, { reason: new ShutdownError(problem, 'Send it again to another server, or later.') });
    }
    await this.#engine.flushStates(signal);
  }

  /** Ends the engine and frees the model. Unfinished requests end with DisposedError. */
  async dispose(): Promise<void> {
    const error = new DisposedError('The model was disposed of.', 'Load it again.');
    this.#close(error);
    await this.#engine.dispose();
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // Not a request's error and not the executor's: the engine itself can't be trusted any more.
    this.#run().catch((error) => {
      this.#close(asError(error));
      this.#engine.reportDeath(asError(error));
    });
  }

  async #run(): Promise<void> {
    // Requests that come together begin together.
    await yieldToEventLoop();
    while (this.#engine.hasWork()) {
      for (const output of await this.#engine.step()) this.#deliver(output);
      // A reason to be closed that came first stays: it is what its caller knows.
      if (this.#engine.dead) this.#closed ??= this.#engine.dead;
      await yieldToEventLoop();
    }
    this.#isRunning = false;
    this.#engine.checkIntegrity();
  }

  #deliver(output: RequestOutput): void {
    const { requestId } = output;
    const reader = this.#readers.get(requestId);
    if (!reader) return;
    try {
      reader.stream.push(output);
    } catch (error) {
      this.#drop(requestId, { reason: error });
      return;
    }
    if (output.finished) this.#forget(requestId);
    else if (reader.stream.unreadTokens >= reader.maxUnreadTokens) this.#engine.setPaused(requestId, true);
  }

  #resume(requestId: string): void {
    this.#engine.setPaused(requestId, false);
    if (this.#engine.hasWork()) this.#start();
  }

  /** @param failure error that the stream rejects with; absent if it is not read any more. */
  #drop(requestId: string, failure?: { readonly reason: unknown }): boolean {
    const reader = this.#readers.get(requestId);
    if (!reader) return false;
    this.#engine.abortRequest(requestId);
    if (failure) reader.stream.fail(failure.reason);
    this.#forget(requestId);
    return true;
  }

  #forget(requestId: string): void {
    this.#readers.get(requestId)?.detach();
    this.#readers.delete(requestId);
    if (this.#readers.size === 0) for (const done of this.#onDrained) done();
  }

  #close(error: Error): void {
    this.#closed = error;
    for (const requestId of [...this.#readers.keys()]) this.#drop(requestId, { reason: error });
  }
}
