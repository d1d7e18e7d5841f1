import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';

/** Facts about a request for the log, besides those of HTTP. */
export interface RequestFacts {
  readonly usage?: Usage;
  readonly stream?: boolean;
  readonly finishReason?: string | undefined;
  /** Error because of which there is no answer, or a stream broke off. */
  readonly error?: HttpError | undefined;
}

/** One HTTP request, for the log and the metrics. A stream ends later than its handler. */
export class RequestRecord {
  readonly id: string;
  readonly #begin = performance.now();
  readonly #onEnd: (record: RequestRecord) => void;
  #facts: RequestFacts = {};
  #isOpen = false;

  constructor(id: string, onEnd: (record: RequestRecord) => void) {
    this.id = id;
    this.#onEnd = onEnd;
  }

  get facts(): RequestFacts {
    return this.#facts;
  }

  /** Time since the request arrived. */
  get milliseconds(): number {
    return performance.now() - this.#begin;
  }

  add(facts: RequestFacts): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  /** The answer continues after its handler has returned; the code that sends it calls `end`. */
  keepOpen(): void {
    this.#isOpen = true;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  handled(): void {
    if (!this.#isOpen) this.end();
  }

  end(): void {
    this.#onEnd(this);
  }
}
