/** Lets timers, I/O and abort signals run before the next step of a computation that would otherwise hold the thread. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') return void setImmediate(resolve);
    // Browsers have no setImmediate, and their timers wait 4 ms.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      // Named here, it can't be collected before its message has come.
      port2.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** Time that the parts of long work may take before others have a turn of the event loop. */
const TURN_MILLISECONDS = 5;

/** Turns of the event loop for long work in small parts: one whenever parts have taken some milliseconds since the last. */
export class Turns {
  readonly #milliseconds: number;
  #begin = performance.now();

  constructor(milliseconds = TURN_MILLISECONDS) {
    this.#milliseconds = milliseconds;
  }

  /** Gives the event loop a turn if the last was long ago. To be awaited between two parts of the work. */
  async next(): Promise<void> {
    if (performance.now() - this.#begin < this.#milliseconds) return;
    await yieldToEventLoop();
    this.#begin = performance.now();
  }
}
