import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { GenerationChunk } from '../../../src/engine/request/generation-chunk.ts';
import type { Prompt } from '../../../src/engine/request/prompt.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { few } from '../../runs.ts';
import { chunksOf } from '../chunks-of.ts';
import { assertSameInBatches, REQUESTS as FORMS } from '../forms-in-batches.ts';
import { HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

const speculativeConfig = { method: 'ngram', numSpeculativeTokens: 6, promptLookupMin: 1, promptLookupMax: 4 } as const;

const CODE = 'export interface User {\n  readonly id: number;\n  readonly name: string;\n}\n';

/** Requests of all kinds, most with repetition. Some share beginnings. */
const TEXTS: readonly (readonly [prompt: string, options: GenerateOptions])[] = [
  [CODE.repeat(3), { temperature: 0, maxTokens: 40, logprobs: 2 }],
  [CODE.repeat(3), { temperature: 0.6, seed: 3, maxTokens: 30, logprobs: 3 }],
  [CODE.repeat(2), { temperature: 0, maxTokens: 30, stop: 'name' }],
  [CODE.repeat(2), { temperature: 0.3, minP: 0.05, seed: 1, maxTokens: 24, n: 3 }],
  [CODE.repeat(2), { temperature: 0, repetitionPenalty: 1.05, presencePenalty: 0.1, maxTokens: 24 }],
  [CODE, { temperature: 0, maxTokens: 40, numSpeculativeTokens: 0 }],
  [CODE, { temperature: 0, maxTokens: 40, numSpeculativeTokens: 2, badWords: ['id'] }],
  [CODE, { temperature: 0, maxTokens: 20, promptLogprobs: 1 }],
  [CODE, { temperature: 0, maxTokens: 20, halfLifeInterval: 7 }],
  ['e', { temperature: 1, seed: 2, maxTokens: 12, stopTokenIds: [10] }],
];

/**
 * The chunks of each answer: those of different ones may come in another order. Without half-lives, which depend on what
 * is in the cache.
 */
async function answersOf(llm: LLM, prompt: Prompt, options: GenerateOptions): Promise<GenerationChunk[]> {
  const chunks = await chunksOf(llm, prompt, { ignoreEos: true, ...options });
  return chunks.map(({ halfLives: _, ...chunk }) => chunk).toSorted((a, b) => a.index - b.index);
}

/** Answers alone and without guesses, and then together with them: limits make slots and states change hands. */
async function assertSame(
  model: string,
  common: LoadOptions,
  requests: readonly (readonly [prompt: Prompt, options: GenerateOptions])[],
): Promise<void> {
  await using plain = await LLM.load(model, { ...common, enablePrefixCaching: false });
  const alone = [];
  for (const [prompt, options] of requests) alone.push(await answersOf(plain, prompt, options));
  for (const limits of [
    { maxNumSeqs: 3, maxNumBatchedTokens: 40, snapshotInterval: 16, prefixCacheBytes: 40e6 },
    { maxNumSeqs: 16 },
  ]) {
    await using llm = await LLM.load(model, { ...common, ...limits, speculativeConfig });
    for (let round = 0; round < 2; round++) {
      const answers = requests.map(([prompt, options]) => answersOf(llm, prompt, options));
      expect(await Promise.all(answers)).toEqual(alone);
      llm.engine.checkIntegrity();
    }
    const { speculation, freeSlots, slots } = llm.engine.stats();
    expect(freeSlots).toBe(slots);
    expect(speculation?.acceptedTokensPerPosition[1]).toBeGreaterThan(0);
  }
}

describe('guesses change no bit of an answer', () => {
  test.each(
    few([
      ['float32', 1],
      ['int8', 2],
      ['int4', 1],
      ['float32', 2],
    ] as const),
  )(
    'of the bundled model with %s weights on %d ranks',
    async (dtype, tensorParallelSize) => {
      await assertSame('tiny-dts', { device: 'cpu', dtype, tensorParallelSize }, TEXTS);
    },
    300_000,
  );

  // Models of random weights say nothing twice, unless they have two words.
  const loop = Array.from({ length: 60 }, (_, i) => [7, 9, 30, 31, 5][i % 5]);
  const allowedTokenIds = [7, 9];
  const idRequests: readonly (readonly [number[], GenerateOptions])[] = [
    [loop, { temperature: 0, maxTokens: 40, logprobs: 1, allowedTokenIds }],
    [loop, { temperature: 1, seed: 4, maxTokens: 30, logprobs: 1, n: 2, allowedTokenIds }],
    [[3, 4, 5], { temperature: 0, maxTokens: 30, allowedTokenIds }],
    [loop, { temperature: 0, maxTokens: 10 }],
  ];

  test.each(
    few([
      ...HYBRIDS,
      'variants/plamo2',
      'variants/plamo2-windows',
      'variants/nemotron-experts',
      'variants/zamba2-two-blocks',
    ]),
  )(
    'of the hybrid %s',
    async (name) => {
      await assertSame(hybridFolder(name), { device: 'cpu', dtype: 'float32' }, idRequests);
    },
    300_000,
  );

  test('of a hybrid in the reference, and of one in two stages', async () => {
    await assertSame(hybridFolder('bamba'), { device: 'reference' }, idRequests);
    await assertSame(hybridFolder('granitemoehybrid'), { device: 'cpu', pipelineParallelSize: 2 }, idRequests);
  }, 300_000);

  test('of a hybrid whose states are float16', async () => {
    const common = { device: 'cpu', dtype: 'float32', stateDtype: 'float16' } as const;
    await assertSame(hybridFolder('variants/plamo2-windows'), common, idRequests);
  }, 300_000);

  test('of answers in a form', async () => {
    const items = { type: 'array', items: { const: 'abc' }, minItems: 7, maxItems: 9 };
    const requests = [{ structuredOutputs: { json: items }, temperature: 0 }, ...FORMS];
    const common = { device: 'cpu', dtype: 'float32' } as const;
    await using plain = await LLM.load('tiny-dts', common);
    await using llm = await LLM.load('tiny-dts', { ...common, speculativeConfig });
    const expected = await assertSameInBatches(plain, 40, requests);
    expect(await assertSameInBatches(llm, 40, requests)).toEqual(expected);
    expect(llm.engine.stats().speculation?.acceptedTokensPerPosition[0]).toBeGreaterThan(0);
  }, 300_000);
});
