import { beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { loadDraftModel } from '../../../src/engine/load/load-draft-model.ts';
import { checkLoadOptions, type LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { StartedModel } from '../../../src/engine/load/start-ranks.ts';
import { DraftModel } from '../../../src/engine/speculate/draft-model.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { chunksOf } from '../chunks-of.ts';
import { prompt, Rig, stopClock } from '../engine-rig.ts';
import { FAKE_VOCAB, type FakeBlocks, FakeExecutor, fakeAnswer } from '../fake-executor.ts';
import { hybridFolder } from '../hybrid-folders.ts';

const DRAFTS = 4;

// A step of the fake models takes as long as a guess of theirs: measured costs would forbid it.
beforeEach(stopClock);

/** An engine whose tokens another fake model guesses: the same one, which is always right. */
function draftedRig({ slots = 6, blocks, samplesTokens = false }: RigOptions = {}) {
  const failures: Error[] = [];
  const executor = new FakeExecutor(slots, blocks, samplesTokens);
  const draftSource = new DraftModel({
    executor,
    slots,
    maxNumBatchedTokens: 16,
    vocabSize: FAKE_VOCAB,
    onFailure: (error) => failures.push(error),
  });
  const speculativeConfig = { method: 'draft_model', model: 'fake', numSpeculativeTokens: DRAFTS } as const;
  return { rig: new Rig({ speculativeConfig, draftSource, maxNumSeqs: 3 }, blocks), executor, failures };
}

interface RigOptions {
  readonly slots?: number;
  readonly blocks?: FakeBlocks;
  readonly samplesTokens?: boolean;
}

describe('a draft model', () => {
  test.each([
    { model: 'a model without attention' },
    { model: 'one that samples by itself', samplesTokens: true },
    { model: 'a hybrid', blocks: { numBlocks: 60, blockSize: 4 } },
  ])('that is right lets each step give several tokens: $model', async ({ model: _, ...options }) => {
    const { rig } = draftedRig(options);
    const isHybrid = options.blocks !== undefined;
    for (const i of [0, 1, 2]) rig.add(`${i}`, prompt(5 + 9 * i, i), { maxTokens: 30, ignoreEos: true });
    await rig.finish();
    for (const i of [0, 1, 2]) {
      expect(rig.tokens.get(`${i}`)).toEqual([fakeAnswer(prompt(5 + 9 * i, i), 30, isHybrid)]);
    }
    const { steps, speculation } = rig.engine.stats();
    expect(steps).toBeLessThan(28);
    const { draftTokens = 0, acceptedTokensPerPosition = [] } = speculation ?? {};
    expect(acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0)).toBe(draftTokens);
  });

  test('serves more answers, one after the other, than it has room for', async () => {
    const { rig } = draftedRig({ slots: 2, blocks: { numBlocks: 30, blockSize: 4 } });
    for (const i of [0, 1, 2, 3]) rig.add(`${i}`, prompt(6, i), { maxTokens: 12, ignoreEos: true });
    await rig.finish();
    for (const i of [0, 1, 2, 3]) expect(rig.tokens.get(`${i}`)).toEqual([fakeAnswer(prompt(6, i), 12, true)]);
    expect(rig.engine.stats().speculation?.draftTokens).toBeGreaterThan(0);
  });

  test('that fails guesses no more, and changes nothing else', async () => {
    const { rig, executor, failures } = draftedRig();
    rig.add('a', prompt(5), { maxTokens: 30, ignoreEos: true });
    for (let i = 0; i < 4; i++) await rig.step();
    executor.failure = new Error('gone');
    await rig.finish();
    expect(rig.tokens.get('a')).toEqual([fakeAnswer(prompt(5), 30)]);
    expect(failures.map(({ message }) => message)).toEqual(['gone']);
    expect(executor.isDisposed).toBe(true);
  });

  test('that fails wants no guesses, and tells it once, and not when it was disposed of', async () => {
    const tokenIds = prompt(5);
    for (const fails of [true, false]) {
      const told: string[] = [];
      const executor = new FakeExecutor(2);
      const onFailure = ({ message }: Error) => {
        told.push(message);
        throw new Error('of the receiver');
      };
      const log = vi.spyOn(console, 'error').mockImplementation(() => {});
      const model = new DraftModel({ executor, slots: 2, maxNumBatchedTokens: 16, vocabSize: FAKE_VOCAB, onFailure });
      const drafter = model.open();
      expect(drafter.hasFailed).toBe(false);
      if (fails) executor.failure = new Error('gone');
      const preparing = model.prepare([{ drafter, tokenIds, count: 2 }]);
      if (!fails) await model.dispose();
      await preparing;
      await model.prepare([{ drafter, tokenIds, count: 2 }]);
      await model.dispose();
      expect(drafter.hasFailed).toBe(true);
      expect(told).toEqual(fails ? ['gone'] : []);
      expect(log).toHaveBeenCalledTimes(fails ? 1 : 0);
      log.mockRestore();
      expect(executor.isDisposed).toBe(true);
    }
  });

  test('is loaded with the model, and must have its vocabulary', async () => {
    const load = (model: string) => {
      const speculativeConfig = { method: 'draft_model', model, numSpeculativeTokens: DRAFTS } as const;
      return LLM.load('tiny-dts', { device: 'cpu', dtype: 'float32', speculativeConfig });
    };
    await using plain = await LLM.load('tiny-dts', { device: 'cpu', dtype: 'float32' });
    await using drafted = await load('tiny-dts');
    for (const options of [{ temperature: 0 }, { temperature: 0.5, seed: 3 }]) {
      const asked = { ...options, maxTokens: 20, logprobs: 1 };
      const expected = await chunksOf(plain, 'export interface User {\n', asked);
      expect(await chunksOf(drafted, 'export interface User {\n', asked)).toEqual(expected);
    }
    expect(drafted.engine.stats().speculation?.acceptedTokensPerPosition[0]).toBeGreaterThan(0);
    await expect(load(hybridFolder('bamba'))).rejects.toThrow(ArgumentError);
  });
});

test.each([
  { ranks: 1, threads: 1 },
  { ranks: 2, threads: 'auto' },
])('of a model on $ranks threads a draft model is asked to have $threads', async ({ ranks, threads }) => {
  const speculativeConfig = { method: 'draft_model', model: 'tiny-dts', numSpeculativeTokens: 4 } as const;
  const load = vi.fn((_: string, __: LoadOptions) => Promise.reject(new Error('Enough.')));
  const device = { device: 'cpu', reason: '' } as const;
  const started = { device, tensorParallelSize: ranks, executor: new FakeExecutor(1) } as unknown as StartedModel;
  await expect(loadDraftModel(started, checkLoadOptions({ speculativeConfig }), load)).rejects.toThrow('Enough.');
  expect(load.mock.calls[0][1].tensorParallelSize).toBe(threads);
});
