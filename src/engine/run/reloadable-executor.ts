import { ArgumentError, EngineDeadError, OutOfMemoryError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import type { Batch, Executor, GuessBatch, StateFootprint, StatePlace, StepOutput } from './executor.ts';

/** Tries in a row after which a model is given up. */
const MAX_TRIES = 7;
const DEFAULT_PAUSE = 500;
/** Milliseconds after which loading counts as a success, even if no step was run. */
const PROVEN_MILLISECONDS = 60_000;

export interface ReloadOptions {
  /** Makes the next executor; undefined if failures are final. The signal ends it. */
  readonly load: ((signal: AbortSignal) => Promise<Executor>) | undefined;
  /** Milliseconds before the second try in a row; doubled before each further one. Default: 500. */
  readonly pause?: number | undefined;
  /** Called when the executor has failed between steps: `failure` says why. */
  readonly onFailure: () => void;
  /** Called when memory was missing for a step, so that the states are lost. */
  readonly onLostStates: () => void;
}

/** An executor that can be replaced by a new one after it has failed. */
export class ReloadableExecutor implements Executor {
  readonly stateFootprint: StateFootprint;
  readonly #options: ReloadOptions;
  #executor: Executor;
  #failure: Error | undefined;
  /** Tries to load since the last step that ran. */
  #tries = 0;
  #loadedAt = performance.now();
  #hasEnded = false;
  readonly #disposal = new AbortController();
  #reloading: Promise<void> = Promise.resolve();

  constructor(executor: Executor, options: ReloadOptions) {
    this.stateFootprint = executor.stateFootprint;
    this.#options = options;
    this.#executor = executor;
    this.#watch(executor);
  }

  /** Why it can't be used now. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get canReload(): boolean {
    return this.#failure !== undefined && this.#options.load !== undefined && !this.#hasEnded;
  }

  get samplesTokens(): boolean {
    return this.#executor.samplesTokens ?? false;
  }

  get maxConcurrentBatches(): number {
    return this.#executor.maxConcurrentBatches ?? 1;
  }

  async execute(batch: Batch): Promise<StepOutput> {
    const output = await this.#unlessLost(this.#executor.execute(batch));
    if (batch.sequences.length > 0) this.#tries = 0;
    return output;
  }

  async guess(batch: GuessBatch): Promise<Int32Array<ArrayBuffer>> {
    const guesses = this.#executor.guess?.(batch);
    if (!guesses) throw new ArgumentError('This executor guesses no tokens.', 'Use another speculativeConfig.method.');
    return this.#unlessLost(guesses);
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#executor.recycle?.(logits);
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    return this.#unlessLost(this.#executor.exportState(place));
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    await this.#unlessLost(this.#executor.importState(place, state));
  }

  async #unlessLost<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof OutOfMemoryError) this.#options.onLostStates();
      throw error;
    }
  }

  /** No step can be run any more until it is reloaded. The first failure is the one to report. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /**
   * Loads it again, after a pause where that was tried before and has not helped. Rejects with EngineDeadError when it has
   * not helped too often.
   * @param onFailure is told of a try that failed, and of the milliseconds before the next.
   */
  async reload(onFailure: (error: Error, pause: number | undefined) => void): Promise<void> {
    this.#reloading = this.#reload(onFailure);
    await this.#reloading;
  }

  get isDisposed(): boolean {
    return this.#disposal.signal.aborted;
  }

  async dispose(): Promise<void> {
    this.#hasEnded = true;
    this.#disposal.abort();
    await this.#reloading.catch(() => {});
    await this.#executor.dispose();
  }

  async #reload(onFailure: (error: Error, pause: number | undefined) => void): Promise<void> {
    const { load, pause = DEFAULT_PAUSE } = this.#options;
    const { signal } = this.#disposal;
    if (!load) return;
    if (performance.now() - this.#loadedAt > PROVEN_MILLISECONDS) this.#tries = 0;
    // The old executor may still hold memory. An error while it ends adds nothing to its failure.
    await this.#executor.dispose().catch(() => {});
    for (;;) {
      if (this.#tries >= MAX_TRIES) throw this.#giveUp();
      if (this.#tries > 0) await sleep(pause * 2 ** (this.#tries - 1), signal);
      if (signal.aborted) return;
      this.#tries++;
      try {
        const executor = await load(signal);
        this.#executor = executor;
        this.#loadedAt = performance.now();
        if (signal.aborted) return;
        this.#failure = undefined;
        this.#watch(executor);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#failure = asError(error);
        onFailure(this.#failure, this.#tries < MAX_TRIES ? pause * 2 ** (this.#tries - 1) : undefined);
      }
    }
  }

  #giveUp(): EngineDeadError {
    this.#hasEnded = true;
    const cause = this.#failure;
    const problem = `The model failed, and loading it again has failed ${this.#tries} times: ${cause?.message}`;
    const error = new EngineDeadError(problem, 'Remove the cause of these failures, then load the model again.', {
      cause,
    });
    this.#failure = error;
    return error;
  }

  #watch(executor: Executor): void {
    executor.failed?.then((error) => {
      if (this.#executor !== executor || this.#hasEnded) return;
      this.fail(error);
      this.#options.onFailure();
    });
  }
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
