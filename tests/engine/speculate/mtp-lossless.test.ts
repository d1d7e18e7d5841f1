import { beforeEach, describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { ArgumentError, ModelMismatchError } from '../../../src/errors.ts';
import { few } from '../../runs.ts';
import { chunksOf } from '../chunks-of.ts';
import { stopClock } from '../engine-rig.ts';
import { hybridFolder } from '../hybrid-folders.ts';
import { blockBytes, generated, prompt } from '../hybrid-suite.ts';
import { predictingFolder } from './predicting-folder.ts';

const COMMON = { device: 'cpu', dtype: 'float32' } as const;
const speculativeConfig = { method: 'mtp', numSpeculativeTokens: 5 } as const;

// Measured costs would forbid guesses for a model whose steps take no time.
beforeEach(stopClock);

const tokens = (length: number, seed: number) => prompt(length, seed).map((id) => id % 37);

const REQUESTS: readonly (readonly [tokenIds: number[], options: GenerateOptions])[] = [
  [tokens(40, 1), { temperature: 0, maxTokens: 30, logprobs: 2 }],
  [tokens(32, 1), { temperature: 0.5, seed: 3, maxTokens: 40, logprobs: 1 }],
  [tokens(100, 1), { temperature: 0, maxTokens: 20, stopTokenIds: [5] }],
  [tokens(100, 2), { temperature: 0.4, seed: 1, maxTokens: 24, n: 2 }],
  [tokens(64, 2), { temperature: 0, repetitionPenalty: 1.1, maxTokens: 24 }],
  [tokens(31, 4), { temperature: 0, maxTokens: 16, numSpeculativeTokens: 0 }],
  [tokens(33, 4), { temperature: 0, maxTokens: 16, numSpeculativeTokens: 1 }],
  [[7], { temperature: 0, maxTokens: 12 }],
];

async function answersOf(llm: LLM, [tokenIds, options]: (typeof REQUESTS)[number]) {
  const chunks = await chunksOf(llm, tokenIds, { ignoreEos: true, ...options });
  return chunks.toSorted((a, b) => a.index - b.index);
}

/** Answers alone and without guesses, and then together with them. */
async function assertSame(folder: string, options: LoadOptions, limits: LoadOptions): Promise<void> {
  await using plain = await LLM.load(folder, { ...options, enablePrefixCaching: false });
  const alone = [];
  for (const request of REQUESTS) alone.push(await answersOf(plain, request));
  await using llm = await LLM.load(folder, { ...options, ...limits, speculativeConfig });
  for (let round = 0; round < 2; round++) {
    expect(await Promise.all(REQUESTS.map((request) => answersOf(llm, request)))).toEqual(alone);
    llm.engine.checkIntegrity();
  }
  const { speculation, freeSlots, slots, preemptions, prefixCache } = llm.engine.stats();
  expect(freeSlots).toBe(slots);
  const { draftTokens = 0, acceptedTokensPerPosition = [] } = speculation ?? {};
  expect(acceptedTokensPerPosition[1]).toBeGreaterThan(0);
  // Some are wrong.
  expect(acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0)).toBeLessThan(draftTokens);
  if (limits.kvCacheMemoryBytes) expect(preemptions).toBeGreaterThan(0);
  expect(prefixCache.hits).toBeGreaterThan(0);
}

describe('guesses of layers for multi-token prediction change no bit of an answer', () => {
  test('in small steps, with few blocks', async () => {
    const folder = await predictingFolder(0.1);
    const kvCacheMemoryBytes = 9 * 2 * (await blockBytes(folder));
    const few = { maxNumSeqs: 5, maxNumBatchedTokens: 24, snapshotInterval: 16, kvCacheMemoryBytes };
    await assertSame(folder, COMMON, few);
  }, 300_000);

  test.each(
    few([
      { options: { ...COMMON, tensorParallelSize: 2 } },
      { options: { ...COMMON, pipelineParallelSize: 2 } },
      { options: { device: 'cpu', dtype: 'int8' } },
      { options: { device: 'reference' } },
    ] as const),
  )(
    'with $options',
    async ({ options }) => {
      await assertSame(await predictingFolder(0.1), options, { maxNumSeqs: 3, snapshotInterval: 32 });
    },
    300_000,
  );

  test('in sessions, which belong to a model that was loaded with them', async () => {
    const folder = await predictingFolder(0.1);
    await using plain = await LLM.load(folder, COMMON);
    await using llm = await LLM.load(folder, { ...COMMON, speculativeConfig });
    const ids = tokens(64, 3);
    const sessions = [plain.createSession(), llm.createSession()];
    for (const session of sessions) await session.append(ids);
    const [expected, found] = [await generated(sessions[0]), await generated(sessions[1])];
    expect(found).toEqual(expected);
    const file = await sessions[1].save();
    const loaded = await llm.loadSession(file);
    expect(await generated(loaded, [9])).toEqual(await generated(sessions[0], [9]));
    await expect(plain.loadSession(file)).rejects.toThrow(ModelMismatchError);
  }, 300_000);
});

describe('layers for multi-token prediction', () => {
  test('that are right guess right, also after others have used the same prefix', async () => {
    const folder = await predictingFolder(0);
    await using llm = await LLM.load(folder, { ...COMMON, speculativeConfig, snapshotInterval: 32 });
    const options = { temperature: 0, maxTokens: 60, ignoreEos: true };
    const answers = [1, 2, 3].map((id) => llm.complete([...tokens(32, 0), id], options));
    await Promise.all(answers);
    const { speculation, completionTokens, steps } = llm.engine.stats();
    const { draftTokens, acceptedTokensPerPosition = [] } = speculation ?? {};
    expect(acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0)).toBe(draftTokens);
    // Three answers in each step, and more than three tokens of each.
    expect(steps).toBeLessThan(completionTokens / 3 / 3);
  }, 300_000);

  test('are asked of a model that has some', async () => {
    const load = (folder: string, config: object = speculativeConfig) =>
      LLM.load(folder, { ...COMMON, speculativeConfig: config as typeof speculativeConfig });
    await expect(load(hybridFolder('bamba'))).rejects.toThrow('no layers for multi-token prediction');
    await expect(load(hybridFolder('nemotron_h'))).rejects.toThrow(ArgumentError);
    await expect(load(await predictingFolder(0), { ...speculativeConfig, model: 'x' })).rejects.toThrow("'model'");
    await using llm = await load(await predictingFolder(0), { ...speculativeConfig, method: 'nemotron_h_mtp' });
    expect((await llm.complete([1, 2], { maxTokens: 3 })).tokenIds.length).toBeGreaterThan(0);
  });
});
