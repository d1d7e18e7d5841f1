import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GenerateOptions, type GenerationChunk, LLM, ShardingError } from '../../../src/index.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { assertSameInBatches, REQUESTS } from '../forms-in-batches.ts';
import { GOLDEN } from '../golden-folder.ts';

describe('a model in two stages, each with a thread', () => {
  let one: LLM;
  let staged: LLM;
  beforeAll(async () => {
    const settings = { device: 'cpu', maxNumSeqs: 6 } as const;
    [one, staged] = await Promise.all([
      LLM.load(TINY_DTS, settings),
      LLM.load(TINY_DTS, { ...settings, pipelineParallelSize: 2, maxNumBatchedTokens: 128 }),
    ]);
  });
  afterAll(() => Promise.all([one.dispose(), staged.dispose()]));

  test('gives the answers of one rank, of any form, alone and in batches', async () => {
    const requests: GenerateOptions[] = [...REQUESTS, { logprobs: 2, stop: ['\n\n', ';'] }, { n: 4, minP: 0.05 }];
    const texts = await assertSameInBatches(staged, 40, requests);
    expect(await assertSameInBatches(one, 40, requests)).toEqual(texts);
  });

  test('evaluates long texts as one rank does, whose parts are under way at once', async () => {
    const text = 'export declare function f(a: string, b: number[]): Promise<void>;\n'.repeat(24);
    const found = await staged.logprobs(text);
    expect(found).toEqual(await one.logprobs(text));
    expect(found.length).toBeGreaterThan(400);
  });

  async function textOf(answer: AsyncIterable<GenerationChunk>): Promise<string> {
    let whole = '';
    for await (const { text } of answer) whole += text;
    return whole;
  }

  test('sessions, their forks and files are those of one rank', async () => {
    const ask = async (llm: LLM) => {
      const session = llm.createSession();
      const texts = [await textOf(session.generate('export interface A {\n', { maxTokens: 30, seed: 2 }))];
      const fork = session.fork();
      texts.push(await textOf(fork.generate('\nexport class B {', { maxTokens: 20, seed: 3 })));
      texts.push(await textOf(session.generate('\nexport type C =', { maxTokens: 20, seed: 4 })));
      const file = await session.save();
      session.dispose();
      fork.dispose();
      return { texts, file };
    };
    const [own, other] = [await ask(staged), await ask(one)];
    expect(own).toEqual(other);
    const continued = async (llm: LLM) => {
      const session = await llm.loadSession(own.file);
      const text = await textOf(session.generate('\n', { maxTokens: 20, seed: 5 }));
      session.dispose();
      return text;
    };
    expect(await continued(staged)).toBe(await continued(one));
  });

  test('answers that are abandoned change no other', async () => {
    const options = { maxTokens: 40, seed: 7 } as const;
    const alone = (await one.complete('export const a =', options)).text;
    const abandoned = Array.from({ length: 8 }, async (_, i) => {
      const signal = AbortSignal.timeout(10 + 7 * i);
      await expect(staged.complete('declare module', { maxTokens: 4000, ignoreEos: true, signal })).rejects.toThrow();
    });
    const texts = await Promise.all(Array.from({ length: 4 }, () => staged.complete('export const a =', options)));
    for (const { text } of texts) expect(text).toBe(alone);
    await Promise.all(abandoned);
    staged.engine.checkIntegrity();
    expect(staged.engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0, freeSlots: 6 });
  });
});

test('each stage may have several ranks', async () => {
  const [one, staged] = await Promise.all([
    LLM.load(GOLDEN, { device: 'cpu', tensorParallelSize: 2 }),
    LLM.load(GOLDEN, { device: 'cpu', tensorParallelSize: 2, pipelineParallelSize: 2 }),
  ]);
  const prompt = Array.from({ length: 20 }, (_, i) => i);
  expect(await staged.logits(prompt)).toEqual(await one.logits(prompt));
  await Promise.all([one.dispose(), staged.dispose()]);
});

test('more stages than layers are refused', async () => {
  await expect(LLM.load(GOLDEN, { pipelineParallelSize: 9 })).rejects.toThrow(ShardingError);
});
