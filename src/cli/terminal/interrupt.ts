/** Exit code after Ctrl-C, as shells count it. */
export const INTERRUPTED = 130;

/** Why work that was interrupted from the keyboard ended. */
export class InterruptedError extends Error {
  constructor() {
    super('Interrupted.');
    this.name = 'InterruptedError';
  }
}

/** Turns Ctrl-C, and whatever else is to end a command, into an abort signal while it is open: it can end in order. */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #names: readonly NodeJS.Signals[];
  readonly #listener = () => {
    // A second Ctrl-C does not wait for the end in order.
    if (this.signal.aborted) process.exit(INTERRUPTED);
    this.#controller.abort(new InterruptedError());
  };

  constructor(names: readonly NodeJS.Signals[] = ['SIGINT']) {
    this.#names = names;
    for (const name of names) process.on(name, this.#listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Gives the signals back to the operating system. */
  close(): void {
    for (const name of this.#names) process.off(name, this.#listener);
  }
}
