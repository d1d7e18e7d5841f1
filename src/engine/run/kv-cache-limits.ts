import { ArgumentError } from '../../errors.ts';
import { KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import type { KvCacheSize } from '../../layers/attention/kv-cache-shape.ts';
import { type KvCacheDType, kvHeadBytes } from '../../tensor/kv-cache-dtype.ts';

/** Limits of a model's key-value cache. */
export interface KvCacheLimits {
  /** Sequences that run at once. */
  readonly slots: number;
  readonly maxModelLen?: number | undefined;
  /** Memory of the whole cache, as one rank alone would hold it. */
  readonly kvCacheMemoryBytes?: number | undefined;
  /** Dtype of keys and values. Default: float32. */
  readonly kvCacheDtype?: KvCacheDType | undefined;
}

/** Defaults. */
const DEFAULT_BYTES = 2 ** 30;
const DEFAULT_TOKENS = 2 ** 12;
const DEFAULT_MODEL_LEN = 2 ** 15;

/**
 * Blocks for a model's attention layers: as many as the memory holds, but unless it was asked for no more than a long
 * sequence takes, or all of usual length. One is for copies.
 * @throws ArgumentError when a sequence of `maxModelLen` tokens does not fit.
 */
export function numKvBlocks(sizes: readonly KvCacheSize[], limits: KvCacheLimits): number {
  if (sizes.length === 0) return 0;
  const { slots, maxModelLen, kvCacheMemoryBytes, kvCacheDtype } = limits;
  const blockBytes = KV_BLOCK_SIZE * kvTokenBytes(sizes, kvCacheDtype);
  const held = Math.floor((kvCacheMemoryBytes ?? DEFAULT_BYTES) / blockBytes);
  const blocksFor = (tokens: number) => Math.ceil(tokens / KV_BLOCK_SIZE);
  const least = 1 + blocksFor(maxModelLen ?? 1);
  if (kvCacheMemoryBytes === undefined) {
    const usual = Math.min(maxModelLen ?? DEFAULT_TOKENS, DEFAULT_TOKENS);
    const most = Math.max(blocksFor(maxModelLen ?? DEFAULT_MODEL_LEN), slots * blocksFor(usual));
    return Math.max(least, Math.min(held, 1 + most));
  }
  if (held >= least) return held;
  throw new ArgumentError(
    `kvCacheMemoryBytes is ${kvCacheMemoryBytes}; one sequence of ${maxModelLen ?? 1} tokens needs ${least * blockBytes}.`,
    maxModelLen === undefined ? 'Use more.' : 'Use more, or a smaller maxModelLen.',
  );
}

/** Bytes of one token's keys and values in all layers. */
export function kvTokenBytes(
  sizes: readonly Pick<KvCacheSize, 'numKvHeads' | 'headDim'>[],
  dtype: KvCacheDType = 'float32',
): number {
  return sizes.reduce((sum, { numKvHeads, headDim }) => sum + 2 * numKvHeads * kvHeadBytes(headDim, dtype), 0);
}
