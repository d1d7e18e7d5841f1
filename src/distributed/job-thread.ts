import type { TransferListItem, Worker } from 'node:worker_threads';
import { DisposedError, Mamba2Error, QueueFullError } from '../errors.ts';
import { MAX_DELAY } from '../util/max-delay.ts';
import { reviveError, type SerializedError } from './serialized-error.ts';

/** Message from a thread: it can take jobs, or its job has ended. `heap`: bytes of its JavaScript heap at that time. */
export type JobMessage<Result> =
  | { readonly type: 'ready'; readonly heap: number }
  | { readonly type: 'result'; readonly result: Result; readonly heap: number }
  | { readonly type: 'error'; readonly error: SerializedError; readonly heap: number };

/**
 * Bytes by which the heap of an idle thread may have grown since its start. Above that the thread is ended: V8 collects
 * garbage when a program allocates, so an idle heap would keep the size of its largest job.
 */
const MAX_IDLE_GROWTH = 64 * 2 ** 20;

/** Limits of a job. */
export interface JobOptions {
  /** Time of the thread after which it is ended, with this job and no other. Default: no limit. */
  readonly milliseconds?: number | undefined;
  /** Memory that the job holds while it waits, in a unit of the caller's. Default: 0. */
  readonly weight?: number | undefined;
  /** Moved to the thread, not copied. */
  readonly transfer?: readonly TransferListItem[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface JobThreadOptions<Job, Result> {
  /** Name of the thread in messages. */
  readonly name: string;
  readonly startWorker: () => Worker;
  /** Does jobs on the caller's thread, where the worker can't be started: a bundle in one file has no script for it. */
  readonly runHere: (job: Job) => Result;
  /** Rest of the warning in that case: what is slower now, and how to get the worker. */
  readonly runHereHint: string;
  /** Sum of the weights of jobs that wait; a job that would exceed it is refused. */
  readonly maxWaitingWeight: number;
  /** Time without a job after which the thread is ended; the next job starts it again. Default: it stays. */
  readonly idleMilliseconds?: number | undefined;
}

/** Why a job was not finished: its thread was ended, or it ended on its own. */
export class JobEndedError extends Mamba2Error {
  readonly code = 'job_ended';
  readonly why: 'time' | 'memory' | 'failure';

  constructor(why: JobEndedError['why'], problem: string, options?: { cause?: unknown }) {
    super(problem, '', options);
    this.why = why;
  }
}

interface WaitingJob<Job, Result> {
  readonly job: Job;
  readonly options: JobOptions;
  readonly resolve: (result: Result) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A worker thread of Node that does one job at a time, in the order in which they came. It is started with the first job,
 * and again after it was ended because a job took too long or too much. It does not keep the program running.
 */
export class JobThread<Job, Result> {
  readonly #options: JobThreadOptions<Job, Result>;
  readonly #waiting: WaitingJob<Job, Result>[] = [];
  #waitingWeight = 0;
  #current: WaitingJob<Job, Result> | undefined;
  #worker: Worker | undefined;
  /** Bytes of the worker's heap before its first job. Undefined until it is ready. */
  #emptyHeap: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isDisposed = false;
  /** The worker can't be started. */
  #isMissing = false;

  constructor(options: JobThreadOptions<Job, Result>) {
    this.#options = options;
  }

  /**
   * Rejects with the thread's error; JobEndedError; QueueFullError; DisposedError; the signal's reason. What an aborted job
   * began is finished, within its time, unless that has no limit.
   */
  async run(job: Job, options: JobOptions = {}): Promise<Result> {
    const { signal, weight = 0 } = options;
    signal?.throwIfAborted();
    if (this.#isDisposed) throw new DisposedError('The model was disposed of.', 'Load it again.');
    if (this.#waiting.length > 0 && this.#waitingWeight + weight > this.#options.maxWaitingWeight) {
      throw new QueueFullError(`${this.#options.name} has as much before it as it may.`, 'Try again later.');
    }
    let abort: (() => void) | undefined;
    try {
      return await new Promise<Result>((resolve, reject) => {
        const waiting = { job, options, resolve, reject };
        abort = () => this.#abort(waiting);
        signal?.addEventListener('abort', abort, { once: true });
        this.#waiting.push(waiting);
        this.#waitingWeight += weight;
        this.#next();
      });
    } finally {
      if (abort) signal?.removeEventListener('abort', abort);
    }
  }

  /** Starts the thread before there is a job. */
  warmUp(): void {
    if (!this.#isDisposed && !this.#isMissing) this.#worker ??= this.#start();
    if (!this.#current) this.#worker?.unref();
  }

  /** Ends the thread. Unfinished jobs reject with DisposedError. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    const error = new DisposedError('The model was disposed of.', 'Load it again.');
    const unfinished = [this.#current, ...this.#waiting.splice(0)];
    this.#current = undefined;
    for (const waiting of unfinished) waiting?.reject(error);
    await this.#stop();
  }

  #next(): void {
    if (this.#current || this.#isDisposed) return;
    clearTimeout(this.#timer);
    this.#current = this.#waiting.shift();
    if (!this.#current) {
      this.#rest();
      return;
    }
    this.#waitingWeight -= this.#current.options.weight ?? 0;
    if (this.#isMissing) {
      this.#runHere(this.#current);
      return;
    }
    this.#worker ??= this.#start();
    this.#worker.ref();
    if (this.#emptyHeap !== undefined) this.#post(this.#worker, this.#current);
  }

  #runHere({ job, resolve, reject }: WaitingJob<Job, Result>): void {
    try {
      const result = this.#options.runHere(job);
      this.#finish(() => resolve(result));
    } catch (error) {
      this.#finish(() => reject(error));
    }
  }

  #rest(): void {
    this.#worker?.unref();
    const { idleMilliseconds } = this.#options;
    if (this.#worker && idleMilliseconds !== undefined) {
      this.#timer = setTimeout(() => void this.#stop(), idleMilliseconds);
      this.#timer.unref();
    }
  }

  #post(worker: Worker, { job, options, reject }: WaitingJob<Job, Result>): void {
    try {
      worker.postMessage(job, [...(options.transfer ?? [])]);
    } catch (error) {
      // What can't be copied, such as a function.
      this.#finish(() => reject(error));
      return;
    }
    const { milliseconds = Number.POSITIVE_INFINITY } = options;
    if (milliseconds > MAX_DELAY) return;
    const seconds = (milliseconds / 1000).toFixed(1);
    const late = () => this.#fail(new JobEndedError('time', `${this.#options.name} had ${seconds} s for it`));
    this.#timer = setTimeout(late, milliseconds);
  }

  #start(): Worker {
    const worker = this.#options.startWorker();
    const { name } = this.#options;
    worker.on('message', (message: JobMessage<Result>) => {
      if (worker !== this.#worker) return;
      if (message.type === 'ready') {
        this.#emptyHeap = message.heap;
        if (this.#current) this.#post(worker, this.#current);
        return;
      }
      const current = this.#current;
      if (this.#emptyHeap === undefined) {
        if (message.type === 'error') this.#miss(`can't be started: ${message.error.message}`);
        return;
      }
      // Node's own, such as those of `--watch`.
      if (message.type !== 'result' && message.type !== 'error') return;
      const isLast = this.#waiting.length === 0;
      if (isLast && message.heap - this.#emptyHeap > MAX_IDLE_GROWTH) void this.#stop();
      this.#finish(() => {
        if (message.type === 'result') current?.resolve(message.result);
        else current?.reject(reviveError(message.error, name));
      });
    });
    const failed = (problem: string, cause: unknown) => {
      if (worker !== this.#worker) return;
      if (this.#emptyHeap === undefined) return this.#miss(problem);
      const isMemory = cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY';
      this.#fail(new JobEndedError(isMemory ? 'memory' : 'failure', `${name} ${problem}`, { cause }));
    };
    worker.on('messageerror', (error) => failed(`sent what can't be read: ${error.message}`, error));
    worker.on('error', (error) => failed(`failed: ${error instanceof Error ? error.message : error}`, error));
    worker.on('exit', (code) => failed(`exited with code ${code}`, undefined));
    return worker;
  }

  #finish(settle: () => void): void {
    clearTimeout(this.#timer);
    this.#current = undefined;
    settle();
    this.#next();
  }

  /** The thread is gone, or has to go. */
  #fail(error: JobEndedError): void {
    const current = this.#current;
    void this.#stop();
    this.#finish(() => current?.reject(error));
  }

  /** The worker can't be started. Its jobs are done on the caller's thread from now on, rather than not at all. */
  #miss(problem: string): void {
    this.#isMissing = true;
    void this.#stop();
    const { name, runHereHint } = this.#options;
    process.emitWarning(`${name} ${problem}. ${runHereHint}`, 'Mamba2Warning');
    if (this.#current) this.#runHere(this.#current);
  }

  #abort(waiting: WaitingJob<Job, Result>): void {
    const { options, reject } = waiting;
    reject(options.signal?.reason);
    const place = this.#waiting.indexOf(waiting);
    if (place >= 0) {
      this.#waiting.splice(place, 1);
      this.#waitingWeight -= options.weight ?? 0;
    } else if (waiting === this.#current && options.milliseconds === undefined) {
      void this.#stop();
      this.#finish(() => {});
    }
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    this.#emptyHeap = undefined;
    await worker?.terminate();
  }
}
