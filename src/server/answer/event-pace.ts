import type { GenerationOutput } from './generation.ts';

/** Events a second that all streams together may have. Writing one takes some 30 µs of the thread that runs the engine, too. */
const EVENTS_PER_SECOND = 5000;

/**
 * Divides the events that a server can write among its open streams. What comes for a stream before its next event may be
 * written goes out in that one: with 64 streams every 13 ms. Steps of so many sequences take longer on the processor, where
 * each token has an event of its own; GPUs are quicker.
 */
export class EventPace {
  #open = 0;

  /** A stream begins. */
  open(): StreamPace {
    this.#open++;
    return { paced: (outputs) => this.#paced(outputs), close: () => this.#open-- };
  }

  async *#paced(outputs: AsyncIterable<GenerationOutput>): AsyncGenerator<GenerationOutput, void> {
    for await (const output of outputs) {
      const begin = performance.now();
      yield output;
      if (output.finished) continue;
      const wait = begin + (1000 * this.#open) / EVENTS_PER_SECOND - performance.now();
      // Timers know no shorter times.
      if (wait >= 1) await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** One stream's part of the pace. */
export interface StreamPace {
  /** The outputs, each of which has what came until the stream may have another event. */
  paced(outputs: AsyncIterable<GenerationOutput>): AsyncIterable<GenerationOutput>;
  /** The stream is over. */
  close(): void;
}
