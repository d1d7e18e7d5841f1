import { afterAll, describe, expect, test } from 'vitest';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { createGroupMemory, failGroup, SharedMemoryGroup } from '../../src/distributed/shared-memory-group.ts';
import { ArgumentError, RankFailedError } from '../../src/errors.ts';
import { concatenated, firstDifference, SeededRandom } from '../layers/seeded.ts';
import { grid, runs } from '../runs.ts';
import { gathered } from './collectives-on-ranks.ts';
import { RankPool } from './run-ranks.ts';

const pool = new RankPool<typeof import('./collectives-on-ranks.ts')>(
  new URL('./collectives-on-ranks.ts', import.meta.url),
);
afterAll(() => pool.close());

const SIZES = [1, 2, 3, 4, 5];
/** Floats that pass in one exchange. */
const WINDOW = 2 ** 18;
const LENGTHS = [0, 1, 7, 1000, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 5];

/** Values whose sum depends on the order, so that another order than that of the ranks shows. */
function rankData(size: number, length: number): Float32Array[] {
  const random = new SeededRandom(size * 1000 + length);
  return Array.from({ length: size }, () => random.floats(length).map((value, i) => value * 10 ** ((i % 13) - 6)));
}

function sumInRankOrder(data: readonly Float32Array[]): Float32Array {
  return data[0].map((_, i) => data.reduce((sum, own) => sum + own[i], 0));
}

describe.each(grid(SIZES.flatMap((size) => LENGTHS.map((length) => ({ size, length })))))(
  '$size ranks',
  ({ size, length }) => {
    test(`allReduce sums ${length} values in rank order, rounded once, with the same bits everywhere`, async () => {
      const data = rankData(size, length);
      const results = await pool.run('allReduce', size, { data });
      expect(results).toHaveLength(size);
      const expected = sumInRankOrder(data);
      for (const result of results) expect(firstDifference(result, expected)).toBe(-1);
    });

    test(`allGather puts ${length} values of each rank in rank order`, async () => {
      const data = rankData(size, length);
      const expected = concatenated(data);
      for (const result of await pool.run('allGather', size, { data }))
        expect(firstDifference(result, expected)).toBe(-1);
    });
  },
);

describe.each(SIZES)('%i ranks', (size) => {
  test('broadcast gives every rank the array of the source, whichever rank that is', async () => {
    for (const length of [0, 3, WINDOW + 1]) {
      const data = rankData(size, length);
      for (let source = 0; source < size; source++) {
        const results = await pool.run('broadcast', size, { data, source });
        for (const result of results) expect(firstDifference(result, data[source])).toBe(-1);
      }
    }
  });

  test('keeps thousands of collectives of changing lengths apart', async () => {
    const rounds = runs(3000);
    const results = await pool.run('manyCollectives', size, { rounds });
    const expected = Float32Array.from({ length: rounds }, (_, i) => {
      const length = 1 + (i % 7);
      const ranks = Array.from({ length: size }, (_, r) => r * 1000 + i);
      const sum = ranks.reduce((a, b) => a + b, 0);
      const gathered = ranks.flatMap((value) => Array.from({ length }, () => value));
      const values = [Array.from({ length }, () => sum), Array.from({ length }, () => ranks[i % size]), gathered][
        i % 3
      ];
      return values.reduce((total, value, j) => total + value * (j + 1), 0);
    });
    for (const result of results) expect(firstDifference(result, expected)).toBe(-1);
  });

  test('carries NaN and infinities through', async () => {
    const data = Array.from({ length: size }, (_, r) =>
      Float32Array.of(Number.NaN, r === 0 ? Number.POSITIVE_INFINITY : 1, 2),
    );
    for (const result of await pool.run('allReduce', size, { data })) {
      expect([...result]).toEqual([Number.NaN, Number.POSITIVE_INFINITY, 2 * size]);
    }
  });
});

describe('a failing rank', () => {
  test.each([2, 3, 5])('of %i releases the others with RankFailedError', async (size) => {
    for (let failing = 0; failing < size; failing++) {
      const outcomes = await pool.outcomes('failAfter', size, { failing, rounds: failing });
      outcomes.forEach((outcome, rank) => {
        const error = 'error' in outcome ? outcome.error : undefined;
        if (rank === failing) expect(error?.message).toBe(`Rank ${failing} gives up.`);
        else expect(error).toBeInstanceOf(RankFailedError);
      });
    }
  });

  test('is the one whose error the harness reports', async () => {
    await expect(pool.run('failAfter', 3, { failing: 2, rounds: 1 })).rejects.toThrow('Rank 2 gives up.');
  });

  test('leaves the threads usable for a new group', async () => {
    await expect(pool.run('failAfter', 4, { failing: 1, rounds: 0 })).rejects.toThrow('Rank 1 gives up.');
    expect(await pool.run('manyCollectives', 4, { rounds: 10 })).toHaveLength(4);
  });

  test('releases the others when its thread dies uncaught', async () => {
    await expect(pool.run('die', 3, { failing: 1 })).rejects.toThrow('Nobody catches this.');
    expect(await pool.run('manyCollectives', 3, { rounds: 10 })).toHaveLength(3);
  });
});

describe('a failed group', () => {
  test('throws RankFailedError at every later collective, on every rank, instead of hanging', async () => {
    const memory = createGroupMemory(2);
    failGroup(memory);
    for (const rank of [0, 1]) {
      const group = new SharedMemoryGroup(memory, rank);
      expect(() => group.allReduce([new Float32Array(3)])).toThrow(RankFailedError);
      expect(() => gathered(group, new Float32Array(3))).toThrow(RankFailedError);
      expect(() => group.broadcast(new Float32Array(3), 1)).toThrow(RankFailedError);
    }
  });

  test('stays failed when it is failed again', () => {
    const memory = createGroupMemory(1);
    const group = new SharedMemoryGroup(memory, 0);
    group.allReduce([Float32Array.of(1)]);
    failGroup(memory);
    failGroup(memory);
    expect(() => group.allReduce([Float32Array.of(1)])).toThrow(RankFailedError);
  });
});

describe('bad arguments', () => {
  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('a group of %d ranks', (size) => {
    expect(() => createGroupMemory(size)).toThrow(ArgumentError);
  });

  test.each([-1, 3, 0.5, Number.NaN])('rank %d of 3', (rank) => {
    expect(() => new SharedMemoryGroup(createGroupMemory(3), rank)).toThrow(ArgumentError);
  });

  test.each([-1, 1, 0.5, Number.NaN])('broadcast from rank %d of 1', (source) => {
    const group = new SharedMemoryGroup(createGroupMemory(1), 0);
    expect(() => group.broadcast(Float32Array.of(1), source)).toThrow(ArgumentError);
  });
});

describe('singleProcess', () => {
  test('changes nothing and gathers a copy', () => {
    const data = Float32Array.of(1, 2, 3);
    singleProcess.allReduce([data]);
    singleProcess.broadcast(data, 0);
    const all = gathered(singleProcess, data);
    expect(all).toEqual(data);
    all[0] = 9;
    expect([...data]).toEqual([1, 2, 3]);
  });

  test('agrees with a shared-memory group of one', () => {
    const group = new SharedMemoryGroup(createGroupMemory(1), 0);
    const data = new SeededRandom(1).floats(70_000);
    const reduced = data.slice();
    group.allReduce([reduced]);
    expect(firstDifference(reduced, data)).toBe(-1);
    expect(firstDifference(gathered(group, data), data)).toBe(-1);
  });
});
