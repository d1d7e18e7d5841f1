/**
 * Memory for reading block after block without leaving each to the garbage collector. What a read returns may lie in
 * it, until the next read.
 */
export class ReadScratch {
  readonly bytes: ArrayBuffer;
  readonly #maxValues: number;
  #floats: Float32Array | undefined;
  #inner: ReadScratch | undefined;

  /** @param maxValues in a block; larger ones get memory of their own. */
  constructor(maxValues: number) {
    this.bytes = new ArrayBuffer(4 * maxValues);
    this.#maxValues = maxValues;
  }

  floats(count: number): Float32Array {
    if (count > this.#maxValues) return new Float32Array(count);
    this.#floats ??= new Float32Array(this.#maxValues);
    return this.#floats.subarray(0, count);
  }

  /** Memory for what a read needs until its own result is made. */
  get inner(): ReadScratch {
    this.#inner ??= new ReadScratch(this.#maxValues);
    return this.#inner;
  }
}
