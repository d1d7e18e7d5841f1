import { setTimeout as delay } from 'node:timers/promises';
import { yieldToEventLoop } from '../event-loop.ts';
import type { Link } from '../link.ts';
import type { MpiLibrary } from './mpi-library.ts';
import { type MessagePlace, MpiRequest } from './mpi-request.ts';

/** Bytes that one call of MPI passes, which counts in ints. */
const MAX_BYTES = 2 ** 30;
/** Time in which a message is looked for at every turn of the event loop; later, at each tick of a timer. */
const TURNING_MILLISECONDS = 3;
const TICK_MILLISECONDS = 1;

/**
 * A link to another process of an MPI job. It never blocks: a thread that waits within MPI can't be ended, and its event loop
 * stands still. One thread uses it.
 */
export class MpiLink implements Link {
  readonly #library: MpiLibrary;
  readonly #place: MessagePlace;
  /** Requests that were given up: MPI may still use their memory. */
  readonly #lost: MpiRequest[] = [];

  constructor(library: MpiLibrary, place: MessagePlace) {
    this.#library = library;
    this.#place = place;
  }

  async send(bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const requests = pieces(bytes).map((piece) => MpiRequest.send(this.#library, piece, this.#place));
    await this.#settle(requests, signal);
  }

  async receive(into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const requests = pieces(into).map((piece) => MpiRequest.receive(this.#library, piece, this.#place));
    await this.#settle(requests, signal);
  }

  async #settle(requests: readonly MpiRequest[], signal: AbortSignal | undefined): Promise<void> {
    let open = requests;
    const begin = performance.now();
    for (;;) {
      open = open.filter((request) => !request.test());
      if (open.length === 0) return;
      if (performance.now() - begin < TURNING_MILLISECONDS) await yieldToEventLoop();
      else await delay(TICK_MILLISECONDS);
      if (signal?.aborted) {
        this.#lost.push(...open);
        throw signal.reason;
      }
    }
  }
}

function pieces(bytes: Uint8Array): Uint8Array[] {
  const count = Math.max(1, Math.ceil(bytes.length / MAX_BYTES));
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * MAX_BYTES, (i + 1) * MAX_BYTES));
}
