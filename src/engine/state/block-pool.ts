import { IntegrityError } from '../../errors.ts';

/**
 * The blocks of the key-value cache. A block holds the keys and values of `blockSize` consecutive tokens of every
 * attention layer. The pool counts the owners of each block; a block is free again when the last one releases it.
 */
export class BlockPool {
  readonly count: number;
  readonly blockSize: number;
  readonly #free: number[];
  /** Owners of each block. */
  readonly #references: Int32Array;

  /** @param count 0 for a model without attention. */
  constructor(count: number, blockSize: number) {
    this.count = count;
    this.blockSize = blockSize;
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#references = new Int32Array(count);
  }

  get numFree(): number {
    return this.#free.length;
  }

  /** Number of blocks that a number of tokens takes. */
  blocksFor(numTokens: number): number {
    return this.count === 0 ? 0 : Math.ceil(numTokens / this.blockSize);
  }

  /** Owners of a block. */
  references(block: number): number {
    return this.#references[block];
  }

  /** Takes free blocks for one owner. @returns undefined if there are not enough. */
  take(count: number): number[] | undefined {
    if (count > this.#free.length) return undefined;
    const blocks = this.#free.splice(this.#free.length - count).reverse();
    for (const block of blocks) this.#references[block] = 1;
    return blocks;
  }

  /** Adds an owner to each block. @throws IntegrityError when one of them is free. */
  retain(blocks: readonly number[]): void {
    for (const block of blocks) {
      if (this.#references[block] === 0) throw new IntegrityError(`Block ${block} is free and can't be shared.`);
      this.#references[block]++;
    }
  }

  /** Removes an owner of each block. @throws IntegrityError when one of them has none. */
  release(blocks: readonly number[]): void {
    // The first is taken again first.
    for (const block of blocks.toReversed()) {
      if (!(this.#references[block] > 0)) throw new IntegrityError(`Block ${block} was released and has no owner.`);
      if (--this.#references[block] === 0) this.#free.push(block);
    }
  }

  /** @throws IntegrityError unless every block has the owners that hold it, and is free without any. */
  checkIntegrity(held: Iterable<readonly number[]>): void {
    const owners = new Int32Array(this.count);
    for (const blocks of held) for (const block of blocks) owners[block]++;
    for (const [block, count] of owners.entries()) {
      if (count === this.#references[block]) continue;
      throw new IntegrityError(`Block ${block} counts ${this.#references[block]} owners and has ${count}.`);
    }
    const free = new Set(this.#free);
    if (free.size !== this.#free.length) throw new IntegrityError('A block is free twice.');
    const unowned = owners.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0);
    if (unowned !== free.size) throw new IntegrityError(`${free.size} blocks are free and ${unowned} have no owner.`);
    for (const block of free) if (owners[block] > 0) throw new IntegrityError(`Block ${block} is free and owned.`);
  }
}
