import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EngineContext } from '../../../src/engine/load/engine-options.ts';
import { runs } from '../../runs.ts';
import { prompt, Rig } from '../engine-rig.ts';
import { FakeExecutor, fakeAnswer } from '../fake-executor.ts';

const CHUNK = 8;

/** An engine over a backend that scans prompts by chunks of so many tokens, and what it executes. */
function rigOfChunks(context: Partial<EngineContext>): { rig: Rig; executor: FakeExecutor } {
  const executor = Object.assign(new FakeExecutor(context.maxNumSeqs ?? 3), { promptAlignment: CHUNK });
  return { rig: new Rig({ enablePrefixCaching: false, ...context, executor }), executor };
}

describe('prompts on a backend that scans by chunks', () => {
  test('are divided between chunks, whatever else is in a step', async () => {
    const requests = fc.array(fc.record({ length: fc.integer({ min: 1, max: 60 }), step: fc.nat(12) }), {
      minLength: 1,
      maxLength: 8,
    });
    const property = fc.asyncProperty(
      requests,
      fc.integer({ min: CHUNK + 1, max: 40 }),
      fc.integer({ min: 1, max: 12 }),
      async (arrivals, maxNumBatchedTokens, maxNumSeqs) => {
        const { rig, executor } = rigOfChunks({ maxNumBatchedTokens, maxNumSeqs });
        for (let step = 0; step <= 12 || rig.engine.hasUnfinishedRequests(); step++) {
          if (step > 500) throw new Error('A prompt starves.');
          for (const [i, arrival] of arrivals.entries()) {
            if (arrival.step === step) rig.add(`${i}`, prompt(arrival.length, i), { maxTokens: 6 });
          }
          await rig.step();
        }
        for (const [i, { length }] of arrivals.entries()) {
          expect(rig.tokens.get(`${i}`)).toEqual([fakeAnswer(prompt(length, i), 6)]);
        }
        const ends = new Set(arrivals.map(({ length }) => length));
        for (const { sequences } of executor.batches) {
          const counts = sequences.map(({ tokenIds }) => tokenIds.length);
          expect(counts.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(maxNumBatchedTokens);
          for (const { numComputedTokens, tokenIds } of sequences) {
            const end = numComputedTokens + tokenIds.length;
            if (tokenIds.length > 1 && !ends.has(end)) expect(end % CHUNK).toBe(0);
          }
        }
      },
    );
    await fc.assert(property, { seed: 20261130, numRuns: runs(100) });
  });

  test('do not wait for answers that fill a step', async () => {
    const { rig } = rigOfChunks({ maxNumBatchedTokens: CHUNK + 2, maxNumSeqs: 12 });
    for (let i = 0; i < 10; i++) rig.add(`answer-${i}`, [i, 1], { maxTokens: 200 });
    for (let i = 0; i < 20; i++) await rig.step();
    rig.add('prompt', prompt(3 * CHUNK), { maxTokens: 1 });
    for (let i = 0; i < 10 && !rig.ended.has('prompt'); i++) await rig.step();
    expect(rig.tokens.get('prompt')).toEqual([fakeAnswer(prompt(3 * CHUNK), 1)]);
    await rig.finish();
    for (let i = 0; i < 10; i++) expect(rig.tokens.get(`answer-${i}`)).toEqual([fakeAnswer([i, 1], 200)]);
  });

  test('may be divided within them in steps of no more than one', async () => {
    const { rig, executor } = rigOfChunks({ maxNumBatchedTokens: CHUNK - 3 });
    rig.add('prompt', prompt(2 * CHUNK), { maxTokens: 1 });
    await rig.finish();
    expect(executor.batches.map(({ sequences }) => sequences.map(({ tokenIds }) => tokenIds.length))).toEqual([
      [5],
      [5],
      [5],
      [1],
    ]);
  });
});
