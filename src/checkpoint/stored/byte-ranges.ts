import type { ByteRange } from '../net/url-client.ts';

/** A set of bytes of a file, as few ranges as can say it. */
export class ByteRanges {
  /** Ascending; neither overlapping nor touching. */
  #ranges: ByteRange[] = [];

  constructor(ranges: Iterable<ByteRange> = []) {
    for (const range of ranges) this.add(range);
  }

  add({ begin, end }: ByteRange): void {
    if (begin >= end) return;
    const before = this.#ranges.filter((range) => range.end < begin);
    const after = this.#ranges.filter((range) => range.begin > end);
    const merged = this.#ranges.slice(before.length, this.#ranges.length - after.length);
    const all = { begin: Math.min(begin, merged.at(0)?.begin ?? begin), end: Math.max(end, merged.at(-1)?.end ?? end) };
    this.#ranges = [...before, all, ...after];
  }

  covers(range: ByteRange): boolean {
    return this.firstGap(range) === undefined;
  }

  /** The first bytes of a range that are not in the set, up to the next that is. */
  firstGap({ begin, end }: ByteRange): ByteRange | undefined {
    let at = begin;
    for (const range of this.#ranges) {
      if (range.begin > at) return at < end ? { begin: at, end: Math.min(end, range.begin) } : undefined;
      at = Math.max(at, range.end);
    }
    return at < end ? { begin: at, end } : undefined;
  }

  /** Bytes in the set. */
  get count(): number {
    return this.#ranges.reduce((sum, { begin, end }) => sum + end - begin, 0);
  }

  /** Ascending; neither overlapping nor touching. */
  [Symbol.iterator](): Iterator<ByteRange> {
    return this.#ranges.values();
  }
}
