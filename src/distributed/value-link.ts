import type { Link } from './link.ts';

/** Bytes of a message's first part, which has its length and, mostly, all of it. */
const FIRST_BYTES = 4096;
const LENGTH_BYTES = 8;

/** Values over a link: whatever V8 can serialise, arrays of numbers included. Node only. */
export class ValueLink<Sent, Received> {
  readonly #link: Link;
  /** Values that are leaving. */
  readonly #sending = new Set<Promise<unknown>>();
  readonly #v8 = process.getBuiltinModule('node:v8');

  constructor(link: Link) {
    this.#link = link;
  }

  /** Resolves when the value has left. Calls may overlap: values arrive in their order. */
  async send(value: Sent): Promise<void> {
    const bytes = this.#v8.serialize(value);
    const first = new Uint8Array(FIRST_BYTES);
    new DataView(first.buffer).setFloat64(0, bytes.length);
    const fitting = FIRST_BYTES - LENGTH_BYTES;
    first.set(bytes.subarray(0, fitting), LENGTH_BYTES);
    const sending = this.#link.send(first);
    const rest = bytes.length > fitting ? this.#link.send(bytes.subarray(fitting)) : undefined;
    const leaving = Promise.all([sending, rest]);
    this.#sending.add(leaving);
    try {
      await leaving;
    } finally {
      this.#sending.delete(leaving);
    }
  }

  /** Resolves when all values have left. */
  async flush(): Promise<void> {
    await Promise.all(this.#sending);
  }

  /** The next value. To be called again only after it has come. Rejects with the signal's reason. */
  async receive(signal?: AbortSignal): Promise<Received> {
    const first = new Uint8Array(FIRST_BYTES);
    await this.#link.receive(first, signal);
    const length = new DataView(first.buffer).getFloat64(0);
    const bytes = new Uint8Array(length);
    const fitting = Math.min(length, FIRST_BYTES - LENGTH_BYTES);
    bytes.set(first.subarray(LENGTH_BYTES, LENGTH_BYTES + fitting));
    if (length > fitting) await this.#link.receive(bytes.subarray(fitting), signal);
    return this.#v8.deserialize(bytes);
  }
}
