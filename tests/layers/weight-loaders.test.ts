import { describe, expect, test } from 'vitest';
import { ShapeError, ShardingError } from '../../src/errors.ts';
import {
  alternatingWeightLoader,
  composedWeightLoader,
  divide,
  extraReplicasForShards,
  loadShard,
  replicatedWeightLoader,
  shardedWeightLoader,
  stackedWeightLoader,
} from '../../src/layers/parameters/weight-loaders.ts';

const counted = (count: number) => Float32Array.from({ length: count }, (_, i) => i);
const ranks = (size: number) => Array.from({ length: size }, (_, rank) => rank);

/** All (heads, groups, ranks) up to 24 heads whose groups and ranks both divide the heads. */
const divisors = (value: number) => ranks(value + 1).filter((d) => d > 0 && value % d === 0);
const layouts = ranks(25)
  .slice(1)
  .flatMap((H) => divisors(H).flatMap((G) => divisors(H).map((R) => ({ H, G, R }))));

describe('shardedWeightLoader', () => {
  test('gives rows of axis 0, in the order of the ranks', () => {
    const shards = ranks(3).map((rank) => loadShard(shardedWeightLoader(0, 3, rank), counted(12), [6, 2]));
    expect(shards.map((shard) => [...shard])).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10, 11],
    ]);
  });

  test('gives columns of axis 1', () => {
    const shards = ranks(2).map((rank) => loadShard(shardedWeightLoader(1, 2, rank), counted(12), [3, 4]));
    expect(shards.map((shard) => [...shard])).toEqual([
      [0, 1, 4, 5, 8, 9],
      [2, 3, 6, 7, 10, 11],
    ]);
  });

  test.each([0, 1, 2])('gives every element of a cube to exactly the rank of its place on axis %i', (axis) => {
    const shape = [4, 6, 2];
    for (const size of divisors(shape[axis])) {
      const part = shape[axis] / size;
      for (const rank of ranks(size)) {
        const expected = [...counted(48)].filter((i) => {
          const place = [Math.floor(i / 12), Math.floor(i / 2) % 6, i % 2][axis];
          return Math.floor(place / part) === rank;
        });
        expect([...loadShard(shardedWeightLoader(axis, size, rank), counted(48), shape)]).toEqual(expected);
      }
    }
  });

  test('refuses ranks that do not divide the axis', () => {
    expect(() => loadShard(shardedWeightLoader(0, 4, 0), counted(12), [6, 2])).toThrow(ShardingError);
    expect(() => divide(6, 4, 'Something')).toThrow(/Something has 6 rows, which 4 ranks/);
    expect(divide(6, 3, 'Something')).toBe(2);
  });

  test('leaves the whole tensor as it was', () => {
    const whole = counted(12);
    loadShard(shardedWeightLoader(0, 2, 1), whole, [6, 2]).fill(-1);
    loadShard(shardedWeightLoader(1, 2, 1), whole, [6, 2]).fill(-1);
    expect(whole).toEqual(counted(12));
  });
});

describe('composedWeightLoader', () => {
  test('maps what the inner loader gives', () => {
    const loader = composedWeightLoader(shardedWeightLoader(0, 2, 1), (logA) => -Math.exp(logA));
    expect([...loadShard(loader, Float32Array.of(0, 1, 0, Math.LN2), [4])]).toEqual([-1, -2]);
  });

  test('never writes to the whole tensor, whatever loader is inside', () => {
    const whole = counted(4);
    for (const inner of [replicatedWeightLoader, shardedWeightLoader(0, 1, 0)]) {
      expect([
        ...loadShard(
          composedWeightLoader(inner, (value) => value + 1),
          whole,
          [4],
        ),
      ]).toEqual([1, 2, 3, 4]);
    }
    expect(whole).toEqual(counted(4));
  });
});

describe('extraReplicasForShards', () => {
  test('is what vLLM adds where vLLM knows an answer', () => {
    for (const { G, R } of layouts) {
      if (G % R === 0) expect(extraReplicasForShards(G, R)).toBe(0);
      else if (G === 1) expect(extraReplicasForShards(G, R)).toBe(R - 1);
    }
  });

  test('gives the fewest groups that ranks and heads can share', () => {
    for (const { H, G, R } of layouts) {
      const total = G + extraReplicasForShards(G, R);
      const fits = (groups: number) => groups % G === 0 && groups % R === 0;
      expect([total, H % total]).toEqual([ranks(H + 1).find((groups) => groups > 0 && fits(groups)), 0]);
    }
  });
});

describe('stackedWeightLoader', () => {
  test.each(layouts)('$H heads, $G groups, $R ranks: each head finds its own rows', ({ H, G, R }) => {
    const [P, N, columns] = [2, 3, 2];
    const extended = G + extraReplicasForShards(G, R);
    const heads = { fullDim: H * P, extra: 0, blockSize: 1 };
    const groups = { fullDim: extended * N, extra: (extended - G) * N, blockSize: N };
    const steps = { fullDim: H, extra: 0, blockSize: 1 };

    // Every row of the fused tensor says what it is: part, then head or group, then the row in it.
    const row = (part: string, block: number, i: number) => `${part}${block}.${i}`;
    const rows = (part: string, count: number, size: number) =>
      ranks(count).flatMap((b) => ranks(size).map((i) => row(part, b, i)));
    const fused = [...rows('z', H, P), ...rows('x', H, P), ...rows('B', G, N), ...rows('C', G, N), ...rows('dt', H, 1)];
    const whole = Float32Array.from(fused.flatMap((_, i) => [i, i + 0.5]));

    const [localHeads, localGroups] = [H / R, extended / R];
    for (const rank of ranks(R)) {
      const loader = stackedWeightLoader([heads, heads, groups, groups, steps], R, rank);
      const shard = loadShard(loader, whole, [fused.length, columns]);
      const held = ranks(shard.length / columns).map((i) => fused[shard[i * columns]]);
      expect(held.length).toBe(2 * localHeads * P + 2 * localGroups * N + localHeads);
      ranks(held.length).forEach((i) => {
        if (shard[i * columns + 1] !== shard[i * columns] + 0.5) expect.fail(`Row ${i} is not whole.`);
      });

      const begins = { z: 0, x: localHeads * P, B: 2 * localHeads * P, C: 2 * localHeads * P + localGroups * N };
      const stepsBegin = begins.C + localGroups * N;
      for (const j of ranks(localHeads)) {
        const head = rank * localHeads + j;
        const localGroup = Math.floor(j / (localHeads / localGroups));
        const group = Math.floor(head / (H / G));
        const found = [
          ...held.slice(begins.z + j * P, begins.z + (j + 1) * P),
          ...held.slice(begins.x + j * P, begins.x + (j + 1) * P),
          ...held.slice(begins.B + localGroup * N, begins.B + (localGroup + 1) * N),
          ...held.slice(begins.C + localGroup * N, begins.C + (localGroup + 1) * N),
          held[stepsBegin + j],
        ];
        const own = (part: string, block: number, size: number) => ranks(size).map((i) => row(part, block, i));
        expect(found).toEqual([
          ...own('z', head, P),
          ...own('x', head, P),
          ...own('B', group, N),
          ...own('C', group, N),
          ...own('dt', head, 1),
        ]);
      }
    }
  });

  test('with one rank gives the tensor as it is', () => {
    const specs = [4, 6].map((fullDim) => ({ fullDim, extra: 0, blockSize: 1 }));
    expect(loadShard(stackedWeightLoader(specs, 1, 0), counted(30), [10, 3])).toEqual(counted(30));
  });

  test('takes tensors of one and of three dimensions', () => {
    const specs = [4, 2].map((fullDim) => ({ fullDim, extra: 0, blockSize: 1 }));
    expect([...loadShard(stackedWeightLoader(specs, 2, 1), counted(6), [6])]).toEqual([2, 3, 5]);
    expect([...loadShard(stackedWeightLoader(specs, 2, 0), counted(12), [6, 1, 2])]).toEqual([0, 1, 2, 3, 8, 9]);
  });

  test('refuses a tensor of other rows, and ranks that do not divide a part', () => {
    const specs = [4, 6].map((fullDim) => ({ fullDim, extra: 0, blockSize: 1 }));
    expect(() => loadShard(stackedWeightLoader(specs, 2, 0), counted(11), [11])).toThrow(ShapeError);
    expect(() => loadShard(stackedWeightLoader(specs, 4, 0), counted(10), [10])).toThrow(ShardingError);
  });
});

describe('alternatingWeightLoader', () => {
  // Four heads of two parts, two rows each.
  const layout = { parts: 2, blocks: 4, blockSize: 2 };

  test("gives a rank's blocks of the first part, then those of the second", () => {
    const shards = ranks(2).map((rank) => loadShard(alternatingWeightLoader(layout, 2, rank), counted(16), [16]));
    expect(shards.map((shard) => [...shard])).toEqual([
      [0, 1, 4, 5, 2, 3, 6, 7],
      [8, 9, 12, 13, 10, 11, 14, 15],
    ]);
  });

  test('ranks that do not divide the blocks: ShardingError', () => {
    expect(() => alternatingWeightLoader(layout, 3, 0).rows([16])).toThrow(ShardingError);
  });
});
