import type { GenerationOutput } from './generation.ts';

/** Events a second that all streams together may have. Writing one takes some 30 µs of the thread that runs the engine, too. */
const EVENTS_PER_SECOND = 5000;

/**
 * Divides the events that a server can write among the streams whose answers have begun. What comes for a stream before its
 * next event may be written goes out in that one: with 64 streams every 13 ms. Steps of so many sequences take longer on the
 * processor, where each token has an event of its own; GPUs are quicker.
 */
export class EventPace {
  /** Streams that have had an output, and are open. Requests that wait for a slot may be many more. */
  readonly #begun = new Set<OpenStream>();

  /** A stream is opened. */
  open(): StreamPace {
    const stream = { isOpen: true };
    const close = () => {
      stream.isOpen = false;
      this.#begun.delete(stream);
    };
    return { paced: (outputs) => this.#paced(stream, outputs), close };
  }

  async *#paced(stream: OpenStream, outputs: AsyncIterable<GenerationOutput>): AsyncGenerator<GenerationOutput, void> {
    for await (const output of outputs) {
      const begin = performance.now();
      // Some outputs may still come when the client has left.
      if (stream.isOpen) this.#begun.add(stream);
      yield output;
      if (output.finished) continue;
      const wait = begin + (1000 * this.#begun.size) / EVENTS_PER_SECOND - performance.now();
      // Timers know no shorter times.
      if (wait >= 1) await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

interface OpenStream {
  isOpen: boolean;
}

/** One stream's part of the pace. */
export interface StreamPace {
  /** The outputs, each of which has what came until the stream may have another event. */
  paced(outputs: AsyncIterable<GenerationOutput>): AsyncIterable<GenerationOutput>;
  /** The stream is over. */
  close(): void;
}
