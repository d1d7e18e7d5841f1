import { describe, expect, test } from 'vitest';
import type { RankOptions } from '../../../src/engine/ranks/load-rank.ts';
import { RankExecutor } from '../../../src/engine/ranks/rank-executor.ts';
import { DisposedError, MetadataError } from '../../../src/errors.ts';
import { largestDifference } from '../../numbers.ts';
import { GOLDEN } from '../golden-folder.ts';

const OPTIONS: RankOptions = { name: 'golden', device: 'reference', dtype: 'stored', slots: 2, checkFinite: false };
const batch = (slot: number) => ({
  sequences: [{ slot, numComputedTokens: 0, tokenIds: [1, 2, 3] }],
  logits: 'last' as const,
});

describe('ranks in threads', () => {
  test('return the logits of one rank', async () => {
    const logits = async (ranks: number) => {
      const executor = await RankExecutor.load(GOLDEN, ranks, OPTIONS);
      const result = await executor.execute(batch(0));
      await executor.dispose();
      return result.logits;
    };
    const [one, two] = [await logits(1), await logits(2)];
    expect(one).toHaveLength(256);
    expect(Math.max(...one.map(Math.abs))).toBeGreaterThan(0.01);
    // Sums over ranks round once more.
    expect(largestDifference(two, one)).toBeLessThan(1e-5);
  });

  test('take steps that come at once in turn, and give each its own logits', async () => {
    const two = await RankExecutor.load(GOLDEN, 2, OPTIONS);
    const other = { sequences: [{ slot: 1, numComputedTokens: 0, tokenIds: [9, 8] }], logits: 'all' as const };
    const expected = [await two.execute(batch(0)), await two.execute(other)];
    expect(await Promise.all([two.execute(batch(0)), two.execute(other)])).toEqual(expected);
    await two.dispose();
  });

  test('fail together, with the error of the rank that failed, and stay failed', async () => {
    const executor = await RankExecutor.load(GOLDEN, 2, OPTIONS);
    await expect(executor.execute(batch(7))).rejects.toThrow(MetadataError);
    await expect(executor.execute(batch(0))).rejects.toThrow(/slot 7/);
    await executor.dispose();
  });

  test('end a step that runs when they are disposed of', async () => {
    const executor = await RankExecutor.load(GOLDEN, 2, OPTIONS);
    const running = executor.execute(batch(0));
    const ended = expect(running).rejects.toThrow(DisposedError);
    await executor.dispose();
    await ended;
  });
});
