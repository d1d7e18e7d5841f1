/**
 * Lets so many kernels compile at a time. Each compiles in a thread of the runtime's, and a device can't be given back
 * before those that were begun are done: it would keep our thread until then.
 */
export class CompileTurns {
  readonly #atOnce: number;
  readonly #waiting: { readonly begin: () => void; readonly refuse: (error: Error) => void }[] = [];
  #running = 0;
  #ended: { readonly error: Error; readonly onIdle: () => void } | undefined;

  /** @param atOnce default: one for each of the machine's cores. */
  constructor(atOnce: number = globalThis.navigator?.hardwareConcurrency ?? 8) {
    this.#atOnce = atOnce;
  }

  /** Rejects when none is begun any more. */
  async take<T>(compile: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnce && !this.#ended) {
      await new Promise<void>((begin, refuse) => this.#waiting.push({ begin, refuse }));
    }
    if (this.#ended) throw this.#ended.error;
    this.#running++;
    try {
      return await compile();
    } finally {
      this.#running--;
      this.#waiting.shift()?.begin();
      this.#reportIdle();
    }
  }

  /**
   * Begins none any more.
   * @param error what those get that wait.
   * @param onIdle called when those that were begun have ended: now, or later.
   */
  end(error: Error, onIdle: () => void): void {
    this.#ended = { error, onIdle };
    for (const { refuse } of this.#waiting.splice(0)) refuse(error);
    this.#reportIdle();
  }

  #reportIdle(): void {
    if (this.#running === 0) this.#ended?.onIdle();
  }
}
