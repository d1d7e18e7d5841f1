import { expect, test } from 'vitest';
import type { GuessBatch } from '../../../src/engine/run/executor.ts';
import { PredictorDrafts } from '../../../src/engine/speculate/predictor-drafts.ts';
import { OutOfMemoryError, RankFailedError } from '../../../src/errors.ts';

const tokenIds = [5, 6, 7];

/** A source whose model counts up, unless it fails. */
function drafts(failure?: Error) {
  const asked: GuessBatch[] = [];
  const source = new PredictorDrafts({
    takeCommands: () => [{ type: 'advance', slot: 1, numTokens: 2 }],
    guess: async (batch) => {
      asked.push(batch);
      if (failure) throw failure;
      return Int32Array.from({ length: batch.sequences.length * batch.count }, (_, i) => 10 * (1 + i));
    },
  });
  const drafter = source.open();
  const request = (slot: number, count: number) => ({
    drafter: slot === 1 ? drafter : source.open(),
    tokenIds,
    count,
    place: { slot, numComputedTokens: 2, blocks: [4] },
  });
  return { source, drafter, request, asked };
}

test('answers are guessed for together, after what their states need, each from its last token', async () => {
  const { source, drafter, request, asked } = drafts();
  const without = { drafter: source.open(), tokenIds, count: 9 };
  await source.prepare([request(0, 3), without, request(1, 2)]);
  expect(asked).toHaveLength(1);
  expect(asked[0]).toMatchObject({ count: 3, commands: [{ type: 'advance' }] });
  expect(asked[0].sequences).toEqual([
    { slot: 0, numComputedTokens: 2, blocks: [4], tokenId: 7 },
    { slot: 1, numComputedTokens: 2, blocks: [4], tokenId: 7 },
  ]);
  expect(drafter.draft(tokenIds, 5)).toEqual([40, 50]);
  expect(drafter.draft([...tokenIds, 1], 5)).toEqual([]);
  expect(without.drafter.draft(tokenIds, 5)).toEqual([]);
});

test('where memory is missing for guesses there are none any more, and any other failure is that of the model', async () => {
  const poor = drafts(new OutOfMemoryError('too little'));
  await poor.source.prepare([poor.request(1, 2)]);
  expect(poor.drafter.hasFailed).toBe(true);
  await poor.source.prepare([poor.request(1, 2)]);
  expect(poor.asked).toHaveLength(1);
  const broken = drafts(new RankFailedError('gone'));
  await expect(broken.source.prepare([broken.request(1, 2)])).rejects.toThrow('gone');
  expect(broken.drafter.hasFailed).toBe(false);
});
