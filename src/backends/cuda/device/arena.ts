import type { Handle } from './driver.ts';

/** Bytes of a chunk, unless something larger is asked for. */
export const CHUNK_BYTES = 64 * 2 ** 20;

/** A piece of the device's memory. */
export interface Chunk {
  readonly address: Handle;
  readonly bytes: number;
}

/** Where the next tensor of an arena lies: a chunk's number and a byte in it. */
export interface Place {
  readonly chunk: number;
  readonly offset: number;
}

export const START: Place = { chunk: 0, offset: 0 };

/** Memory that is taken from the beginning on, in chunks, and is free again when the place is set back. */
export class Arena {
  place = START;
  readonly #chunks: Chunk[] = [];
  /** Number of the first chunks that were used since {@link beginUse}, and that graphs use. */
  #numUsed = 0;
  #numKept = 0;

  /** Number of its chunks. */
  get size(): number {
    return this.#chunks.length;
  }

  get numUsed(): number {
    return this.#numUsed;
  }

  get addresses(): Handle[] {
    return this.#chunks.map(({ address }) => address);
  }

  /** Address of so many bytes; undefined if no chunk that comes next has them. */
  take(bytes: number): Handle | undefined {
    let { chunk, offset } = this.place;
    for (; chunk < this.#chunks.length; chunk++, offset = 0) {
      const { address, bytes: size } = this.#chunks[chunk];
      if (offset + bytes > size) continue;
      this.place = { chunk, offset: offset + bytes };
      this.#numUsed = Math.max(this.#numUsed, chunk + 1);
      return address + offset;
    }
    return undefined;
  }

  /** Adds a chunk, of which the next tensor is. */
  add(chunk: Chunk): void {
    this.place = { chunk: this.#chunks.length, offset: 0 };
    this.#chunks.push(chunk);
  }

  beginUse(): void {
    this.#numUsed = 0;
  }

  /** Keeps what has been used where it is. */
  keep(): void {
    this.#numKept = Math.max(this.#numKept, this.#numUsed);
  }

  /** Drops the chunks after so many, except for those that are kept. → their addresses */
  shrink(size: number): Handle[] {
    return this.#chunks.splice(Math.max(size, this.#numKept)).map(({ address }) => address);
  }
}
