import { divide, extraGroupsForHeadShards } from './weight-loaders.ts';

/** Key-value heads of an attention layer: of the whole layer as a size, of one rank as a shape. */
export interface KvCacheShape {
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** Heads on one rank. They follow the query heads and are repeated where ranks share one, as a mixer's groups do. */
export function kvCacheShape({ numKvHeads, headDim }: KvCacheShape, tpSize: number): KvCacheShape {
  const repeated = numKvHeads + extraGroupsForHeadShards(numKvHeads, tpSize);
  return { numKvHeads: divide(repeated, tpSize, 'The key-value cache'), headDim };
}

/** Which of the whole layer's key-value heads a rank holds, in its order. */
export function kvHeadsOfRank(size: KvCacheShape, tpSize: number, tpRank: number): number[] {
  const { numKvHeads } = kvCacheShape(size, tpSize);
  const copies = (numKvHeads * tpSize) / size.numKvHeads;
  return Array.from({ length: numKvHeads }, (_, i) => Math.floor((tpRank * numKvHeads + i) / copies));
}
