/** Number of owners of each block that some owners hold. */
export class BlockCounts {
  readonly #counts = new Map<number, number>();

  /** Blocks, each counted once. */
  get size(): number {
    return this.#counts.size;
  }

  /** Owners of a block. */
  of(block: number): number {
    return this.#counts.get(block) ?? 0;
  }

  /** All blocks that have an owner. */
  blocks(): Iterable<number> {
    return this.#counts.keys();
  }

  add(blocks: readonly number[]): void {
    for (const block of blocks) this.#counts.set(block, this.of(block) + 1);
  }

  remove(blocks: readonly number[]): void {
    for (const block of blocks) {
      const count = this.of(block) - 1;
      if (count > 0) this.#counts.set(block, count);
      else this.#counts.delete(block);
    }
  }

  clear(): void {
    this.#counts.clear();
  }
}
