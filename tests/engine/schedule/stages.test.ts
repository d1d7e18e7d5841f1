import { describe, expect, test } from 'vitest';
import { prompt, Rig } from '../engine-rig.ts';
import { fakeAnswer } from '../fake-executor.ts';

const BLOCKS = { numBlocks: 80, blockSize: 4 };

describe.each([2, 3])('with %i stages', (stages) => {
  test('answers are divided among as many steps', async () => {
    const rig = new Rig(
      { maxNumSeqs: 12, maxNumBatchedTokens: 96, enablePrefixCaching: false },
      undefined,
      false,
      stages,
    );
    for (let i = 0; i < 12; i++) rig.add(`${i}`, prompt(5, i), { maxTokens: 9 });
    await rig.finish();
    for (let i = 0; i < 12; i++) expect(rig.tokens.get(`${i}`)).toEqual([fakeAnswer(prompt(5, i), 9)]);
    expect(rig.executor.mostUnderWay).toBe(stages);
    const decodes = rig.executor.batches.filter(({ sequences }) =>
      sequences.every(({ numComputedTokens }) => numComputedTokens > 5),
    );
    expect(decodes.some(({ sequences }) => sequences.length === 12 / stages)).toBe(true);
    expect(Math.max(...decodes.map(({ sequences }) => sequences.length))).toBeLessThanOrEqual(12 / stages);
  });

  test('no answer waits longer than another, however they come', async () => {
    const rig = new Rig({ maxNumSeqs: 7, maxNumBatchedTokens: 64 }, undefined, false, stages);
    for (let i = 0; i < 7; i++) {
      rig.add(`${i}`, prompt(2 + i, i), { maxTokens: 60, ignoreEos: true });
      await rig.step();
    }
    for (let step = 0; step < 40 * stages; step++) await rig.step();
    const lengths = Array.from({ length: 7 }, (_, i) => rig.tokens.get(`${i}`)?.[0].length ?? 0);
    expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(10);
    await rig.finish();
  });

  test.each([
    ['a model without attention', undefined],
    ['a hybrid', BLOCKS],
  ])("a prompt's parts follow each other without waiting, and states are saved in between: %s", async (_, blocks) => {
    const rig = new Rig(
      { maxNumBatchedTokens: 8 * stages, snapshotInterval: 4, prefixCacheBytes: 5000 },
      blocks,
      false,
      stages,
    );
    rig.add('a', prompt(40), { maxTokens: 3 });
    await rig.step();
    expect(rig.executor.mostUnderWay).toBe(stages);
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(40), 3, blocks !== undefined)]);
    // Each of the saved states is the right one.
    for (const length of [38, 22, 6]) {
      const { hitTokens } = rig.engine.stats().prefixCache;
      const changed = [...prompt(40).slice(0, length), 15, 15];
      rig.add(`${length}`, changed, { maxTokens: 3 });
      await rig.finish();
      expect(rig.engine.stats().prefixCache.hitTokens - hitTokens).toBe(4 * Math.floor(length / 4));
      expect(rig.tokens.get(`${length}`)).toEqual([fakeAnswer(changed, 3, blocks !== undefined)]);
    }
  });

  test.each([
    ['a model without attention', undefined],
    ['a hybrid', BLOCKS],
  ])('steps for which there is no memory are done in smaller ones: %s', async (_, blocks) => {
    const rig = new Rig({ maxNumBatchedTokens: 64, snapshotInterval: 32 }, blocks, false, stages);
    rig.executor.mostTokens = 5;
    rig.add('a', prompt(30), { maxTokens: 4 });
    rig.add('b', prompt(20, 1), { maxTokens: 6, n: 2 });
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(30), 4, blocks !== undefined)]);
    const b = fakeAnswer(prompt(20, 1), 6, blocks !== undefined);
    expect(rig.tokens.get('b')).toEqual([b, b]);
  });

  test('a failure ends all requests of all steps, once each', async () => {
    const rig = new Rig({ maxNumSeqs: 6 }, undefined, false, stages);
    for (let i = 0; i < 8; i++) rig.add(`${i}`, prompt(3, i), { maxTokens: 20 });
    for (let step = 0; step < 4; step++) await rig.step();
    rig.executor.die(new Error('a stage is gone'));
    await rig.finish();
    for (let i = 0; i < 8; i++) expect(rig.ended.get(`${i}`)?.error?.message).toBe('a stage is gone');
    expect(rig.engine.stats()).toMatchObject({ freeSlots: 6, runningRequests: 0, waitingRequests: 0 });
  });
});
