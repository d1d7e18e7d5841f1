/** Exit code after Ctrl-C, as shells count it. */
export const INTERRUPTED = 130;

/** Why work that was interrupted from the keyboard ended. */
export class InterruptedError extends Error {
  constructor() {
    super('Interrupted.');
    this.name = 'InterruptedError';
  }
}

/** Turns Ctrl-C into an abort signal while it is open, so that a command can end in order. */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #listener = () => {
    // Whoever presses it again does not want to wait.
    if (this.signal.aborted) process.exit(INTERRUPTED);
    this.#controller.abort(new InterruptedError());
  };

  constructor() {
    process.on('SIGINT', this.#listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Gives Ctrl-C back to the operating system. */
  close(): void {
    process.off('SIGINT', this.#listener);
  }
}
