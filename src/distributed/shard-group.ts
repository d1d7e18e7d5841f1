import type { AddArrays, ProcessGroup } from './process-group.ts';

/** A rank's place among those that share a layer. */
export interface Shard {
  readonly size: number;
  readonly rank: number;
}

/**
 * Shard of a layer of equal units (heads, or columns): the largest number of ranks that divides them. A rank
 * that is left over repeats the last shard.
 */
export function shardOf(units: number, { size, rank }: Shard): Shard {
  let shards = size;
  while (units % shards !== 0) shards--;
  return { size: shards, rank: Math.min(rank, shards - 1) };
}

/** The group of a layer with a number of units: `group` itself if the ranks divide them. */
export function shardGroup(units: number, group: ProcessGroup): ProcessGroup {
  const shard = shardOf(units, group);
  return shard.size === group.size ? group : new ShardGroup(shard, group);
}

/** A part of a group, in whose sums the ranks that are left over add nothing. */
class ShardGroup implements ProcessGroup {
  readonly size: number;
  readonly rank: number;
  readonly whole: ProcessGroup;

  constructor({ size, rank }: Shard, group: ProcessGroup) {
    this.size = size;
    this.rank = rank;
    this.whole = group;
  }

  allReduce(data: readonly Float32Array[], add?: AddArrays): void {
    if (this.whole.rank >= this.size) for (const array of data) array.fill(0);
    this.whole.allReduce(data, add);
  }

  allGather(data: readonly Float32Array[], out: readonly (readonly Float32Array[])[]): void {
    const [first] = out;
    const unused = Array.from({ length: this.whole.size - this.size }, () =>
      first.map((a) => new Float32Array(a.length)),
    );
    this.whole.allGather(data, [...out, ...unused]);
  }

  broadcast(data: Float32Array, source: number): void {
    this.whole.broadcast(data, source);
  }
}
