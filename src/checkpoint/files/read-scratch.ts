/**
 * Memory for reading block after block without leaving each to the garbage collector. What a read returns may lie in
 * it, until the next read.
 */
export class ReadScratch {
  readonly bytes: ArrayBuffer;
  readonly #floats: Float32Array;

  /** @param maxValues in a block; larger ones get memory of their own. */
  constructor(maxValues: number) {
    this.bytes = new ArrayBuffer(4 * maxValues);
    this.#floats = new Float32Array(maxValues);
  }

  floats(count: number): Float32Array {
    return count <= this.#floats.length ? this.#floats.subarray(0, count) : new Float32Array(count);
  }
}
