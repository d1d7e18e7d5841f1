import { OutOfMemoryError } from '../../../errors.ts';

const PAGE = 1 << 16;
const ALIGNMENT = 64;
/** Kernels may read a vector past the end of a row. */
const SLACK = 64;
/** First free address: the kernels' own constants lie below. */
const HEAP_BASE = 1 << 16;
/** Bytes that 32-bit addresses reach. */
const MAX_PAGES = 1 << 16;

/**
 * A WebAssembly memory, allocated from the bottom. Memory that is taken inside a scope, for intermediate results of a
 * step, is free at its end; memory that is taken outside, for weights and states, stays.
 */
export class CpuMemory {
  readonly memory: WebAssembly.Memory;
  #top = HEAP_BASE;
  /** Addresses of results of the scope's parts, if there is a scope, and how many parts it has had. */
  #places: number[] | undefined;
  #numParts = 0;
  #used = HEAP_BASE;
  #floats: Float32Array;
  #bytes: Uint8Array;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 2 * (HEAP_BASE / PAGE), maximum: MAX_PAGES });
    this.#floats = new Float32Array(this.memory.buffer);
    this.#bytes = new Uint8Array(this.memory.buffer);
  }

  /** All of the memory as floats. Growing replaces it, so ask each time. */
  get floats(): Float32Array {
    return this.#floats;
  }

  /** All of the memory as bytes. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** End of what was ever handed out. Memory beyond it is zeros. */
  get used(): number {
    return this.#used;
  }

  /** Address of the next allocation. */
  get top(): number {
    return this.#top;
  }

  /** Address of a number of free bytes, 64-byte aligned, which are not cleared. */
  allocate(bytes: number): number {
    const address = this.#top;
    const top = Math.ceil((address + bytes + SLACK) / ALIGNMENT) * ALIGNMENT;
    if (top > this.memory.buffer.byteLength) this.#grow(top);
    this.#top = top;
    this.#used = Math.max(this.#used, top);
    return address;
  }

  /**
   * Grows once by so many bytes, where they can be had: growing replaces the memory's arrays each time. Memory that is not
   * used takes none of the machine's.
   */
  reserve(bytes: number): void {
    const pages = Math.min(MAX_PAGES, Math.ceil((this.#top + bytes) / PAGE));
    if (pages * PAGE <= this.memory.buffer.byteLength) return;
    try {
      this.#grow(pages * PAGE);
    } catch {
      // What does not fit is found where it is needed.
    }
  }

  /** {@link allocate} with zeros in it. Memory that nothing has used yet has them, and stays untouched. */
  allocateZeros(bytes: number): number {
    const used = this.#used;
    const address = this.allocate(bytes);
    this.#bytes.fill(0, address, Math.min(address + bytes, used));
    return address;
  }

  /** Runs `run`; what it allocates is free again afterwards. */
  scope<T>(run: () => T): T {
    const [top, places, numParts] = [this.#top, this.#places, this.#numParts];
    [this.#places, this.#numParts] = [[], 0];
    try {
      return run();
    } finally {
      [this.#top, this.#places, this.#numParts] = [top, places, numParts];
    }
  }

  /**
   * Runs a part of a scope with an address for its result of so many bytes, which is free again when the part after the
   * next one begins. What it allocates is free again afterwards. Outside of scopes, where all memory stays, there is no such
   * address.
   */
  part<T>(bytes: number, run: (place?: number) => T): T {
    const places = this.#places;
    if (!places) return run();
    const i = this.#numParts++ % 2;
    places[i] ??= this.allocate(bytes);
    return this.scope(() => run(places[i]));
  }

  #grow(bytes: number): void {
    const current = this.memory.buffer.byteLength / PAGE;
    // Steps ask for a little more each time at first: growing by an eighth keeps the number of growths small.
    const wanted = Math.max(Math.ceil(bytes / PAGE), Math.min(MAX_PAGES, Math.ceil(current * 1.125)));
    try {
      this.memory.grow(wanted - current);
    } catch (cause) {
      throw new OutOfMemoryError(
        `The model needs ${(bytes / 2 ** 30).toFixed(1)} GiB in one thread, more than can be had.`,
        'A thread holds 4 GiB: use a narrower dtype, more ranks (tensorParallelSize), fewer sequences (maxNumSeqs), or less kvCacheMemoryBytes.',
        { cause },
      );
    }
    this.#floats = new Float32Array(this.memory.buffer);
    this.#bytes = new Uint8Array(this.memory.buffer);
  }
}
