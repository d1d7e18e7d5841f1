import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { loadModel } from '../../src/engine/load/load-model.ts';
import type { GenerateOptions } from '../../src/engine/sample/sampling-params.ts';
import type { Session } from '../../src/engine/session/session.ts';
import type { WeightDType } from '../../src/tensor/dtype.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { chunksOf } from './chunks-of.ts';
import { goldenOutputs, HYBRIDS, hybridFolder } from './hybrid-folders.ts';

export const GREEDY = { temperature: 0, maxTokens: 6, ignoreEos: true };

/** Few different tokens at the beginning, so that prompts share long beginnings. */
export const prompt = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => (i * 37 + (i >> 5) + (i > 70 ? seed * 11 : 0)) % 256);

/** Tokens that a session generates after some. */
export async function generated(session: Session, tokenIds?: number[]): Promise<number[]> {
  const found: number[] = [];
  for await (const { tokenId } of session.generate(tokenIds, GREEDY)) found.push(tokenId);
  return found;
}

const REQUESTS: readonly (readonly [tokenIds: number[], options: GenerateOptions])[] = [
  [prompt(40, 1), { temperature: 0, maxTokens: 12 }],
  [prompt(40, 1), { temperature: 0.8, seed: 3, maxTokens: 40, logprobs: 3 }],
  [prompt(100, 1), { temperature: 1, topP: 0.9, seed: 9, maxTokens: 14 }],
  [prompt(150, 1), { temperature: 0, maxTokens: 30 }],
  [prompt(150, 2), { temperature: 0.7, minP: 0.05, seed: 1, maxTokens: 10, n: 3 }],
  [prompt(64, 2), { temperature: 1.3, seed: 5, maxTokens: 16 }],
  [[7], { temperature: 1, seed: 2, maxTokens: 6 }],
  [prompt(31, 4), { temperature: 0, maxTokens: 3 }],
];

/** Tests that the engine gives what transformers gives, on these devices and numbers of ranks. */
export function describeGoldenHybrids(runs: readonly (readonly ['reference' | 'cpu', number])[]): void {
  describe.each(HYBRIDS)('the hybrid %s', (name) => {
    const folder = hybridFolder(name);

    test.each(runs)(
      'gives what transformers gives through the engine: %s, %d ranks',
      async (device, ranks) => {
        const { inputIds, greedy, logits } = await goldenOutputs(folder);
        const limits = { maxNumBatchedTokens: 7, snapshotInterval: 16 };
        await using llm = await LLM.load(folder, { device, tensorParallelSize: ranks, ...limits });
        const found = await llm.logits(inputIds);
        expect(largestDifference(found, logits)).toBeLessThan(2e-3);
        const options = { temperature: 0, maxTokens: greedy.length, ignoreEos: true };
        // Together, then from the cache, then after an edit.
        const others = [inputIds.slice(0, 20), inputIds.toReversed()].map((ids) => llm.complete(ids, options));
        const [whole] = await Promise.all([llm.complete(inputIds, options), ...others]);
        expect(whole.tokenIds).toEqual(greedy);
        const again = await llm.complete(inputIds, options);
        expect(again.tokenIds).toEqual(greedy);
        const { tokenIds } = await llm.complete([...inputIds, ...greedy.slice(0, 5)], options);
        expect(tokenIds.slice(0, -5)).toEqual(greedy.slice(5));
        expect(llm.engine.stats().prefixCache.hits).toBeGreaterThanOrEqual(2);
        llm.engine.checkIntegrity();
      },
      300_000,
    );
  });
}

/** Tests a hybrid under load, and its sessions. */
export function describeHybridUnderLoad(name: string, dtype: WeightDType, tensorParallelSize: number): void {
  describe(`the hybrid ${name} with ${dtype} weights and ${tensorParallelSize} ranks`, () => {
    const folder = hybridFolder(name);
    const common = { device: 'cpu', dtype, tensorParallelSize } as const;

    test('gives every request under load the bits that it gets alone', async () => {
      await using single = await LLM.load(folder, { ...common, enablePrefixCaching: false });
      const alone = [];
      for (const [tokenIds, options] of REQUESTS) {
        // In one piece, and each answer by itself.
        const { n = 1, seed = 0, ...rest } = options;
        const answers = [];
        for (let i = 0; i < n; i++) {
          const chunks = await chunksOf(single, tokenIds, { ignoreEos: true, ...rest, seed: BigInt(seed) + BigInt(i) });
          answers.push(chunks.map((chunk) => ({ ...chunk, index: i })));
        }
        alone.push(answers);
      }
      const settings = [
        { maxNumSeqs: 3, maxNumBatchedTokens: 40, snapshotInterval: 16, numBlocks: 8 },
        { maxNumSeqs: 16, numBlocks: 100 },
        { maxNumSeqs: 5, maxNumBatchedTokens: 64, snapshotInterval: 50, numBlocks: 14, enablePrefixCaching: false },
      ];
      for (const limits of few(settings, 2)) {
        const { numBlocks, ...others } = limits;
        const kvCacheMemoryBytes = numBlocks * (await blockBytes(folder));
        await using loaded = await LLM.load(folder, { ...common, ...others, kvCacheMemoryBytes });
        expect(loaded.engine.stats().blocks).toBe(numBlocks);
        for (let round = 0; round < 2; round++) {
          const together = REQUESTS.map(([tokenIds, options]) =>
            chunksOf(loaded, tokenIds, { ignoreEos: true, ...options }),
          );
          for (const [i, chunks] of (await Promise.all(together)).entries()) {
            for (const [index, answer] of alone[i].entries()) {
              expect(chunks.filter((chunk) => chunk.index === index)).toEqual(answer);
            }
          }
          loaded.engine.checkIntegrity();
        }
        const { freeSlots, slots, preemptions, prefixCache } = loaded.engine.stats();
        expect(freeSlots).toBe(slots);
        if (numBlocks < 10) expect(preemptions).toBeGreaterThan(0);
        if (numBlocks > 20) expect(prefixCache.hits).toBeGreaterThan(0);
      }
    }, 300_000);

    test('has sessions that fork, rewind, and survive in a file', async () => {
      const tokenIds = prompt(90, 1);
      const [file, answer, next] = await (async () => {
        await using llm = await LLM.load(folder, { ...common, snapshotInterval: 16 });
        const session = llm.createSession();
        await session.append(tokenIds);
        const fork = session.fork();
        const first = await generated(session);
        expect(await generated(fork)).toEqual(first);
        expect(llm.engine.stats().prefillTokens).toBe(90);
        fork.rewind(30);
        const before = llm.engine.stats().prefillTokens;
        const rewound = await generated(fork, [5]);
        // Two tokens of the answer are part of what was rewound.
        const { length } = fork.tokenIds;
        expect(llm.engine.stats().prefillTokens - before).toBeLessThanOrEqual(16 + 1);
        const saved = await session.save();
        const rewoundAlone = (await llm.complete(fork.tokenIds.slice(0, length - 6), GREEDY)).tokenIds;
        expect(rewound).toEqual(rewoundAlone);
        return [saved, first, await generated(session, [9, 8])] as const;
      })();
      await using llm = await LLM.load(folder, { ...common, enablePrefixCaching: false });
      expect((await llm.complete(tokenIds, GREEDY)).tokenIds).toEqual(answer);
      expect((await llm.complete([...tokenIds, ...answer, 9, 8], GREEDY)).tokenIds).toEqual(next);
      const { prefillTokens } = llm.engine.stats();
      const session = await llm.loadSession(file);
      expect(await generated(session, [9, 8])).toEqual(next);
      expect(llm.engine.stats().prefillTokens - prefillTokens).toBeLessThanOrEqual(3);
    }, 300_000);
  });
}

/** The bytes of a block, over all ranks. */
export async function blockBytes(folder: string): Promise<number> {
  const { context } = await loadModel(folder, { kvCacheMemoryBytes: 1e6 });
  const { executor } = context;
  await executor.dispose();
  return executor.stateFootprint.kvCache?.blockBytes ?? 0;
}
