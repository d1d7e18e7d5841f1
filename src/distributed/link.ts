import { ArgumentError } from '../errors.ts';
import { unlessAborted } from './abortable.ts';

/**
 * An ordered way to one other process, in both directions. Messages arrive whole, in the order in which they were sent. Calls
 * of one direction may overlap; those of one receiver are filled in the order of the calls.
 */
export interface Link {
  /** Resolves when `bytes` may be changed again, which says nothing about their arrival. */
  send(bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
  /**
   * Fills `into` with the next message, whose length both sides know. Rejects with the signal's reason if it is aborted before
   * the message is there; the link is at its end then. @throws ArgumentError where the message has another length.
   */
  receive(into: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/** Two ends of a link within one process. */
export function linkPair(): [Link, Link] {
  const there = new Lane();
  const back = new Lane();
  return [joined(there, back), joined(back, there)];
}

function joined(out: Lane, back: Lane): Link {
  return {
    send: async (bytes, signal) => {
      signal?.throwIfAborted();
      out.put(bytes.slice());
    },
    receive: async (into, signal) => {
      signal?.throwIfAborted();
      const message = await unlessAborted(back.take(), signal);
      if (message.length !== into.length) throw otherLength(message.length, into.length);
      into.set(message);
    },
  };
}

/** The error of a message that is not as long as both sides agreed on. */
export function otherLength(found: number, expected: number): ArgumentError {
  return new ArgumentError(`A message has ${found} bytes, and ${expected} were expected.`);
}

/** One direction: messages that wait for a reader, or readers that wait for a message. */
class Lane {
  readonly #messages: Uint8Array[] = [];
  readonly #readers: ((message: Uint8Array) => void)[] = [];

  put(message: Uint8Array): void {
    const reader = this.#readers.shift();
    if (reader) reader(message);
    else this.#messages.push(message);
  }

  take(): Promise<Uint8Array> {
    const message = this.#messages.shift();
    return message ? Promise.resolve(message) : new Promise((resolve) => this.#readers.push(resolve));
  }
}
