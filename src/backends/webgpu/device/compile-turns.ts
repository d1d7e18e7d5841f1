/**
 * Limits how many kernels compile at the same time. Each compiles in a thread of the runtime, and giving a device back
 * blocks our thread until those that were begun are done.
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

  /** Runs `compile` when its turn comes. Rejects after {@link end}. */
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
   * Begins no further compilation.
   * @param error the reason that waiting compilations are rejected with.
   * @param onIdle called when all compilations that were begun have ended, which may be now.
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
