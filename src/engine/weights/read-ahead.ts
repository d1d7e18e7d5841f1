import { ReadScratch } from '../../checkpoint/files/read-scratch.ts';

/** A read into memory that is reused once the result is no longer needed. */
export type Read<T> = (scratch: ReadScratch) => Promise<T>;

/**
 * Results of reads in their order. A file is read on other threads, so the next reads run while the current result is
 * copied into place.
 */
export class ReadAhead<T> {
  readonly #reads: Iterator<Read<T>>;
  readonly #started: Promise<T>[] = [];
  readonly #scratches: readonly ReadScratch[];
  #count = 0;

  /**
   * @param ahead reads that run while the results of those before are used
   * @param maxValues that a read gives, and that memory is kept for
   */
  constructor(reads: Iterable<Read<T>>, ahead: number, maxValues: number) {
    this.#reads = reads[Symbol.iterator]();
    this.#scratches = Array.from({ length: ahead + 1 }, () => new ReadScratch(maxValues));
  }

  /** The next result, which is overwritten after the following call. Rejects as its read does. */
  async next(): Promise<T> {
    while (this.#started.length < this.#scratches.length && this.#startNext());
    const result = this.#started.shift();
    if (result === undefined) throw new RangeError('There are no more reads.');
    return result;
  }

  #startNext(): boolean {
    const { done, value: read } = this.#reads.next();
    if (done) return false;
    const result = read(this.#scratches[this.#count % this.#scratches.length]);
    this.#count++;
    // A load that ends before its turn leaves it alone.
    result.catch(() => {});
    this.#started.push(result);
    return true;
  }
}
