import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { LLMEngine } from '../../src/engine/llm-engine.ts';
import { loadModel } from '../../src/engine/load/load-model.ts';
import type { GenerationChunk } from '../../src/engine/request/generation-chunk.ts';
import type { Executor } from '../../src/engine/run/executor.ts';
import { type GenerateOptions, resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import type { Session } from '../../src/engine/session/session.ts';
import type { Snapshot } from '../../src/engine/state/snapshot.ts';
import { ContextLengthError, ModelMismatchError, SessionFileError } from '../../src/errors.ts';
import { runs } from '../runs.ts';
import { goldenOutputs, HYBRIDS, hybridFolder } from './hybrid-folders.ts';

const GREEDY = { temperature: 0, maxTokens: 6, ignoreEos: true };

/** Few different tokens at the beginning, so that prompts share long beginnings. */
const prompt = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => (i * 37 + (i >> 5) + (i > 70 ? seed * 11 : 0)) % 256);

async function chunksOf(llm: LLM, tokenIds: number[], options: GenerateOptions): Promise<GenerationChunk[]> {
  const chunks: GenerationChunk[] = [];
  for await (const chunk of llm.generate(tokenIds, options)) chunks.push(chunk);
  return chunks;
}

async function generated(session: Session, tokenIds?: number[]): Promise<number[]> {
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

describe.each(HYBRIDS)('the hybrid %s', (name) => {
  const folder = hybridFolder(name);

  test.each([
    ['reference', 1, 2e-3],
    ['cpu', 1, 2e-3],
    ['cpu', 2, 2e-3],
    ['cpu', 4, 2e-3],
  ] as const)(
    'gives what transformers gives through the engine: %s, %d ranks',
    async (device, ranks, tolerance) => {
      const { inputIds, greedy, logits } = await goldenOutputs(folder);
      const limits = { maxNumBatchedTokens: 7, snapshotInterval: 16 };
      await using llm = await LLM.load(folder, { device, tensorParallelSize: ranks, ...limits });
      const found = await llm.logits(inputIds);
      const difference = found.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i])), 0);
      expect(difference).toBeLessThan(tolerance);
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

describe.each([
  ['bamba', 'float32', 1],
  ['bamba', 'int8', 2],
  ['bamba', 'int4', 1],
  ['bamba', 'bfloat16', 2],
  ...HYBRIDS.slice(1).map((name) => [name, 'int8', 1] as const),
] as const)('the hybrid %s with %s weights and %d ranks', (name, dtype, tensorParallelSize) => {
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
    for (const limits of [
      { maxNumSeqs: 3, maxNumBatchedTokens: 40, snapshotInterval: 16, numBlocks: 8 },
      { maxNumSeqs: 5, maxNumBatchedTokens: 64, snapshotInterval: 50, numBlocks: 14, enablePrefixCaching: false },
      { maxNumSeqs: 16, numBlocks: 100 },
    ]) {
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

describe('a session file of a hybrid', () => {
  const folder = hybridFolder('bamba');
  const save = async (llm: LLM) => {
    const session = llm.createSession();
    await session.append(prompt(50, 1));
    return session.save();
  };

  test('goes from any number of ranks to any other', async () => {
    await using one = await LLM.load(folder, { tensorParallelSize: 1 });
    const answer = (await one.complete([...prompt(50, 1), 3], GREEDY)).tokenIds;
    const fromOne = await save(one);
    for (const ranks of [2, 3, 4]) {
      await using several = await LLM.load(folder, { tensorParallelSize: ranks });
      expect(await generated(await one.loadSession(await save(several)), [3])).toEqual(answer);
      const { prefillTokens } = several.engine.stats();
      expect(await generated(await several.loadSession(fromOne), [3])).toEqual(answer);
      expect(several.engine.stats().prefillTokens - prefillTokens).toBeLessThanOrEqual(1);
    }
  }, 300_000);

  test('goes on in another process', async () => {
    await using llm = await LLM.load(folder);
    const session = llm.createSession();
    await session.append(prompt(70, 2));
    await generated(session);
    const path = join(await mkdtemp(join(tmpdir(), 'mamba2-session-')), 'session.safetensors');
    await writeFile(path, await session.save());
    const source = new URL('../../src/index.ts', import.meta.url).href;
    const program = `
      import { readFile } from 'node:fs/promises';
      import { LLM } from ${JSON.stringify(source)};
      const llm = await LLM.load(${JSON.stringify(folder)});
      const session = await llm.loadSession(await readFile(${JSON.stringify(path)}));
      const found = [];
      for await (const { tokenId } of session.generate([4, 5], ${JSON.stringify(GREEDY)})) found.push(tokenId);
      console.log(JSON.stringify({ found, prefillTokens: llm.engine.stats().prefillTokens }));
    `;
    const args = ['--no-warnings', '--input-type=module', '--eval', program];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const { found, prefillTokens } = JSON.parse(stdout);
    expect(found).toEqual(await generated(session, [4, 5]));
    expect(prefillTokens).toBeLessThanOrEqual(3);
    await rm(dirname(path), { recursive: true });
  }, 120_000);

  test('is refused by another model, and when it is cut', async () => {
    await using one = await LLM.load(folder);
    await using other = await LLM.load(hybridFolder('granitemoehybrid'));
    const file = await save(one);
    await expect(other.loadSession(file)).rejects.toThrow(ModelMismatchError);
    await expect(one.loadSession(file.slice(0, -8))).rejects.toThrow(SessionFileError);
  });
});

describe('memory for keys and values', () => {
  const folder = hybridFolder('bamba');

  test('bounds prompts and answers, with a clear refusal', async () => {
    const kvCacheMemoryBytes = 4 * (await blockBytes(folder));
    await using llm = await LLM.load(folder, { kvCacheMemoryBytes });
    expect(llm.engine.stats()).toMatchObject({ blocks: 4, freeBlocks: 4 });
    await expect(llm.complete(prompt(96, 1))).rejects.toThrow(ContextLengthError);
    const { tokenIds, finishReason } = await llm.complete(prompt(90, 1), { ...GREEDY, maxTokens: 50 });
    expect([tokenIds.length, finishReason]).toEqual([6, 'length']);
  });

  test('is as much as maxModelLen asks for, or an error says how much it takes', async () => {
    await using llm = await LLM.load(folder, { maxModelLen: 100, maxNumSeqs: 2 });
    expect(llm.engine.stats().blocks).toBe(1 + 2 * 4);
    const kvCacheMemoryBytes = 4 * (await blockBytes(folder));
    await expect(LLM.load(folder, { maxModelLen: 100, kvCacheMemoryBytes })).rejects.toThrow(
      /one sequence of 100 tokens/,
    );
  });
});

test('any traffic over few blocks gives the same tokens, and leaves the books in order', async () => {
  const { context } = await loadModel(hybridFolder('granitemoehybrid'), { maxNumSeqs: 4, dtype: 'int8' });
  const params = (maxTokens: number, n = 1) => resolveSamplingParams({ ...GREEDY, maxTokens, n }, {});
  const alone = new LLMEngine({ ...context, enablePrefixCaching: false });
  const answers = new Map<string, number[]>();
  const expected = async (tokenIds: number[], count: number) => {
    const key = `${tokenIds} ${count}`;
    const found = answers.get(key) ?? [];
    if (found.length > 0) return found;
    alone.addRequest({ promptTokenIds: tokenIds, params: params(count) });
    while (alone.hasUnfinishedRequests()) {
      for (const { outputs } of await alone.step())
        found.push(...outputs.flatMap(({ tokens }) => tokens.map((t) => t.tokenId)));
    }
    answers.set(key, found);
    return found;
  };
  const anyRequest = fc.record({
    arrival: fc.nat(12),
    length: fc.integer({ min: 1, max: 140 }),
    seed: fc.nat(2),
    maxTokens: fc.integer({ min: 1, max: 40 }),
    n: fc.integer({ min: 1, max: 2 }),
    isHeld: fc.boolean(),
    abortAt: fc.option(fc.nat(30), { nil: undefined, freq: 3 }),
  });
  const anyLimits = fc.record({
    maxNumSeqs: fc.integer({ min: 1, max: 4 }),
    maxNumBatchedTokens: fc.integer({ min: 8, max: 100 }),
    snapshotInterval: fc.integer({ min: 5, max: 70 }),
    prefixCacheBytes: fc.constantFrom(0, 200_000, 5e6),
    numBlocks: fc.integer({ min: 7, max: 20 }),
  });
  const property = fc.asyncProperty(fc.array(anyRequest, { maxLength: 8 }), anyLimits, async (requests, limits) => {
    const { numBlocks, ...engineLimits } = limits;
    const engine = new LLMEngine({ ...context, ...engineLimits, executor: withBlocks(context.executor, numBlocks) });
    const found = new Map<string, number[]>();
    const held: Snapshot[] = [];
    const aborted = new Set<string>();
    for (let time = 0; time <= 12 || engine.hasUnfinishedRequests(); time++) {
      for (const [i, { arrival, length, seed, maxTokens, n, isHeld, abortAt }] of requests.entries()) {
        const onFinalState = isHeld ? (state: Snapshot) => void held.push(state) : undefined;
        const promptTokenIds = prompt(length, seed);
        const request = { requestId: `${i}`, promptTokenIds, params: params(maxTokens, n), onFinalState };
        if (arrival === time) engine.addRequest(request);
        if (abortAt === time && engine.abortRequest(`${i}`)) aborted.add(`${i}`);
      }
      for (const { requestId, outputs } of await engine.step()) {
        for (const { index, tokens } of outputs) {
          const key = `${requestId}/${index}`;
          found.set(key, [...(found.get(key) ?? []), ...tokens.map(({ tokenId }) => tokenId)]);
        }
      }
      engine.checkIntegrity();
    }
    for (const state of held) engine.savedStates.release(state);
    engine.checkIntegrity();
    for (const [i, { length, seed, maxTokens, n }] of requests.entries()) {
      if (aborted.has(`${i}`)) continue;
      const answer = await expected(prompt(length, seed), maxTokens);
      for (let index = 0; index < n; index++) expect(found.get(`${i}/${index}`)).toEqual(answer);
    }
  });
  await fc.assert(property, { numRuns: runs(25), seed: 8 });
  await context.executor.dispose();
}, 300_000);

/** The bytes of a block, over all ranks. */
async function blockBytes(folder: string): Promise<number> {
  const { context } = await loadModel(folder, { kvCacheMemoryBytes: 1e6 });
  const { executor } = context;
  await executor.dispose();
  return executor.stateFootprint.kvCache?.blockBytes ?? 0;
}

/** The same executor, of whose blocks only some are to be used. */
function withBlocks(executor: Executor, numBlocks: number): Executor {
  const { kvCache } = executor.stateFootprint;
  return {
    stateFootprint: { ...executor.stateFootprint, kvCache: kvCache && { ...kvCache, numBlocks } },
    execute: (batch) => executor.execute(batch),
    exportState: (place) => executor.exportState(place),
    importState: (place, state) => executor.importState(place, state),
    dispose: () => executor.dispose(),
  };
}
