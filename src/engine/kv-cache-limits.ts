import { ArgumentError } from '../errors.ts';
import { KV_BLOCK_SIZE } from '../layers/attention-metadata.ts';
import type { KvCacheSize } from '../layers/kv-cache-shape.ts';

/** How much memory a model's key-value cache may take. */
export interface KvCacheLimits {
  /** Sequences that run at once. */
  readonly slots: number;
  readonly maxModelLen?: number | undefined;
  /** As one rank alone would hold it. */
  readonly kvCacheMemoryBytes?: number | undefined;
}

/** Where nobody says more. */
const DEFAULT_BYTES = 2 ** 30;
const DEFAULT_TOKENS = 2 ** 15;

/**
 * Blocks for a model's attention layers: as many as the memory holds, but unless it was asked for no more than all
 * sequences could fill. One is for copies.
 * @throws ArgumentError when a sequence of `maxModelLen` tokens does not fit.
 */
export function numKvBlocks(sizes: readonly KvCacheSize[], limits: KvCacheLimits): number {
  if (sizes.length === 0) return 0;
  const { slots, maxModelLen, kvCacheMemoryBytes } = limits;
  const numbers = sizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * headDim, 0);
  const blockBytes = 4 * KV_BLOCK_SIZE * numbers;
  const held = Math.floor((kvCacheMemoryBytes ?? DEFAULT_BYTES) / blockBytes);
  const least = 1 + Math.ceil((maxModelLen ?? 1) / KV_BLOCK_SIZE);
  if (kvCacheMemoryBytes === undefined) {
    const most = 1 + slots * Math.ceil((maxModelLen ?? DEFAULT_TOKENS) / KV_BLOCK_SIZE);
    return Math.max(least, Math.min(held, most));
  }
  if (held >= least) return held;
  throw new ArgumentError(
    `kvCacheMemoryBytes is ${kvCacheMemoryBytes}; one sequence of ${maxModelLen ?? 1} tokens needs ${least * blockBytes}.`,
    maxModelLen === undefined ? 'Use more.' : 'Use more, or a smaller maxModelLen.',
  );
}
