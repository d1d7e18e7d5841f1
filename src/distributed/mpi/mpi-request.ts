import { otherLength } from '../link.ts';
import type { MpiLibrary } from './mpi-library.ts';

/** Bytes that a status takes at the most: 20 with MPICH, 24 with Open MPI, 32 in the standard interface. */
const STATUS_BYTES = 64;

/** Both ends of a message: the other process, and the number that tells messages for different readers apart. */
export interface MessagePlace {
  readonly peer: number;
  readonly tag: number;
}

/**
 * A message under way. MPI writes to its memory, or reads it, until it is done: the request keeps the memory alive as long as the
 * request itself is.
 */
export class MpiRequest {
  readonly #library: MpiLibrary;
  readonly #bytes: Uint8Array;
  #hasLength: boolean;
  readonly #handle = Buffer.alloc(8);
  readonly #flag = new Int32Array(1);
  readonly #status = Buffer.alloc(STATUS_BYTES);

  private constructor(library: MpiLibrary, bytes: Uint8Array, isReceive: boolean) {
    this.#library = library;
    this.#bytes = bytes;
    this.#hasLength = isReceive;
    // V8 keeps small arrays among its own objects, where they may move, until their buffer is asked for.
    void bytes.buffer;
  }

  static send(library: MpiLibrary, bytes: Uint8Array, { peer, tag }: MessagePlace): MpiRequest {
    const request = new MpiRequest(library, bytes, false);
    const { abi } = library;
    library.call('Isend', bytes, bytes.length, abi.byte, peer, tag, abi.world, request.#handle);
    return request;
  }

  static receive(library: MpiLibrary, bytes: Uint8Array, { peer, tag }: MessagePlace): MpiRequest {
    const request = new MpiRequest(library, bytes, true);
    const { abi } = library;
    library.call('Irecv', bytes, bytes.length, abi.byte, peer, tag, abi.world, request.#handle);
    return request;
  }

  /** Done when all processes have come to it. */
  static barrier(library: MpiLibrary): MpiRequest {
    const request = new MpiRequest(library, new Uint8Array(), false);
    library.call('Ibarrier', library.abi.world, request.#handle);
    return request;
  }

  /** Whether the message has left, or is there. To be called until it is. @throws ArgumentError if it has another length. */
  test(): boolean {
    this.#library.call('Test', this.#handle, this.#flag, this.#status);
    if (this.#flag[0] === 0) return false;
    if (this.#hasLength) this.#checkLength();
    return true;
  }

  /** Gives up a message that has not come. Once `test` returns true, MPI is done with its memory. */
  cancel(): void {
    this.#hasLength = false;
    this.#library.call('Cancel', this.#handle);
  }

  #checkLength(): void {
    const count = new Int32Array(1);
    this.#library.call('Get_count', this.#status, this.#library.abi.byte, count);
    if (count[0] !== this.#bytes.length) throw otherLength(count[0], this.#bytes.length);
  }
}
