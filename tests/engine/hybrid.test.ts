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
import type { Executor } from '../../src/engine/run/executor.ts';
import { resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import type { Snapshot } from '../../src/engine/state/snapshot.ts';
import { ContextLengthError, ModelMismatchError, SessionFileError } from '../../src/errors.ts';
import { few, runs } from '../runs.ts';
import { hybridFolder } from './hybrid-folders.ts';
import {
  blockBytes,
  describeGoldenHybrids,
  describeHybridUnderLoad,
  GREEDY,
  generated,
  prompt,
} from './hybrid-suite.ts';

describeGoldenHybrids([['cpu', 1]]);
describeHybridUnderLoad('bamba', 'int8', 2);

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
    for (const ranks of few([2, 3, 4])) {
      await using several = await LLM.load(folder, { tensorParallelSize: ranks });
      expect(await generated(await one.loadSession(await save(several)), [3])).toEqual(answer);
      const { prefillTokens } = several.engine.stats();
      expect(await generated(await several.loadSession(fromOne), [3])).toEqual(answer);
      expect(several.engine.stats().prefillTokens - prefillTokens).toBeLessThanOrEqual(1);
    }
  }, 300_000);

  test('continues in another process', async () => {
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

test('any traffic over few blocks gives the same tokens, and leaves consistent records', async () => {
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
