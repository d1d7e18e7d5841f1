import type { Batch, Executor, StateFootprint, StatePlace, StepOutput } from './executor.ts';

/** An executor that can be replaced by a new one after it has failed. */
export class ReloadableExecutor implements Executor {
  readonly stateFootprint: StateFootprint;
  readonly #load: (() => Promise<Executor>) | undefined;
  #executor: Executor;
  #failure: Error | undefined;
  #hasEnded = false;
  #isDisposed = false;

  /** @param load makes the next one; undefined: a failure is for good. */
  constructor(executor: Executor, load: (() => Promise<Executor>) | undefined) {
    this.stateFootprint = executor.stateFootprint;
    this.#executor = executor;
    this.#load = load;
  }

  /** Why it can't be used now. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get canReload(): boolean {
    return this.#failure !== undefined && this.#load !== undefined && !this.#hasEnded;
  }

  get samplesTokens(): boolean {
    return this.#executor.samplesTokens ?? false;
  }

  async execute(batch: Batch): Promise<StepOutput> {
    return this.#executor.execute(batch);
  }

  recycle(logits: Float32Array<ArrayBuffer>): void {
    this.#executor.recycle?.(logits);
  }

  async exportState(place: StatePlace): Promise<Float32Array<ArrayBuffer>> {
    return this.#executor.exportState(place);
  }

  async importState(place: StatePlace, state: Float32Array): Promise<void> {
    await this.#executor.importState(place, state);
  }

  /** No step can be run any more until it is reloaded. */
  fail(error: Error): void {
    this.#failure = error;
  }

  /** It failed for good. */
  giveUp(error: Error): void {
    this.#failure = error;
    this.#hasEnded = true;
  }

  /** Rejects when that fails, too. */
  async reload(): Promise<void> {
    if (!this.#load) return;
    // What is left of the old one may hold memory; that it can't even end properly is no news.
    await this.#executor.dispose().catch(() => {});
    this.#executor = await this.#load();
    this.#failure = undefined;
    if (this.#hasEnded) await this.#executor.dispose();
  }

  get isDisposed(): boolean {
    return this.#isDisposed;
  }

  async dispose(): Promise<void> {
    this.#hasEnded = true;
    this.#isDisposed = true;
    await this.#executor.dispose();
  }
}
