import { describe, expect, test } from 'vitest';
import { type ProcessGroup, singleProcess } from '../../src/distributed/process-group.ts';
import { shardGroup, shardOf } from '../../src/distributed/shard-group.ts';
import { kvCacheShape, kvHeadsOfRank } from '../../src/layers/attention/kv-cache-shape.ts';

/** A group whose sums are written down instead of made. */
function recordingGroup(size: number, rank: number): ProcessGroup & { readonly sums: number[][] } {
  const sums: number[][] = [];
  return {
    ...singleProcess,
    size,
    rank,
    sums,
    allReduce: (data) => void sums.push(...data.map((array) => [...array])),
  };
}

describe('ranks that do not divide the units of a layer', () => {
  test.each([
    [8, 4, 4],
    [6, 4, 3],
    [12, 8, 6],
    [7, 4, 1],
    [1, 3, 1],
  ])('of %d units on %d ranks, %d have a shard', (units, ranks, shards) => {
    for (let rank = 0; rank < ranks; rank++) {
      expect(shardOf(units, { size: ranks, rank })).toEqual({ size: shards, rank: Math.min(rank, shards - 1) });
    }
  });

  test('leave the group as it is where they do divide them', () => {
    const group = recordingGroup(4, 1);
    expect(shardGroup(8, group)).toBe(group);
  });

  test.each([0, 1, 2, 3])('rank %d adds its part, or nothing', (rank) => {
    const group = recordingGroup(4, rank);
    const data = Float32Array.of(1, 2);
    shardGroup(6, group).allReduce([data]);
    expect(group.sums).toEqual([rank < 3 ? [1, 2] : [0, 0]]);
  });
});

describe('key-value heads', () => {
  test.each([
    { numHeads: 8, numKvHeads: 2, ranks: 1, heads: [[0, 1]] },
    { numHeads: 8, numKvHeads: 2, ranks: 2, heads: [[0], [1]] },
    { numHeads: 8, numKvHeads: 2, ranks: 4, heads: [[0], [0], [1], [1]] },
    {
      numHeads: 12,
      numKvHeads: 4,
      ranks: 6,
      heads: [
        [0, 0],
        [0, 1],
        [1, 1],
        [2, 2],
        [2, 3],
        [3, 3],
      ],
    },
    {
      numHeads: 6,
      numKvHeads: 2,
      ranks: 4,
      heads: [
        [0, 0],
        [0, 1],
        [1, 1],
        [1, 1],
      ],
    },
  ])('$numKvHeads of $numHeads heads on $ranks ranks follow the query heads', ({ ranks, heads, ...sizes }) => {
    const size = { ...sizes, headDim: 16 };
    expect(kvCacheShape(size, ranks)).toEqual({ numKvHeads: heads[0].length, headDim: 16 });
    expect(heads.map((_, rank) => kvHeadsOfRank(size, { size: ranks, rank }))).toEqual(heads);
  });
});
