import { type Shard, shardOf } from '../../distributed/shard-group.ts';
import { divide, extraReplicasForShards } from '../parameters/weight-loaders.ts';

/** Key-value heads on one rank. */
export interface KvCacheShape {
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** An attention layer's heads, over all ranks. */
export interface KvCacheSize extends KvCacheShape {
  /** Query heads: they decide how ranks share the layer. */
  readonly numHeads: number;
  /** The layer's own name, by which the scales of a checkpoint's keys and values are found. Default: it has none. */
  readonly prefix?: string | undefined;
  /** Last tokens of a text whose keys and values are known with the tokens that follow. Default: 0. */
  readonly lag?: number | undefined;
}

/** Keys are what a layer's cache has times `key`, and values what it has times `value`. */
export interface CacheScales {
  readonly key: number;
  readonly value: number;
}

/** Heads follow the query heads and are repeated where ranks share one, as a mixer's groups are. */
export function kvCacheShape({ numHeads, numKvHeads, headDim }: KvCacheSize, ranks: number): KvCacheShape {
  const { size } = shardOf(numHeads, { size: ranks, rank: 0 });
  const repeated = numKvHeads + extraReplicasForShards(numKvHeads, size);
  return { numKvHeads: divide(repeated, size, 'The key-value cache'), headDim };
}

/** Numbers of the whole layer's key-value heads that a rank holds, in its order. */
export function kvHeadsOfRank(cache: KvCacheSize, ranks: Shard): number[] {
  const { size, rank } = shardOf(cache.numHeads, ranks);
  const { numKvHeads } = kvCacheShape(cache, ranks.size);
  const copies = (numKvHeads * size) / cache.numKvHeads;
  return Array.from({ length: numKvHeads }, (_, i) => Math.floor((rank * numKvHeads + i) / copies));
}
