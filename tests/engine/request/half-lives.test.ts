import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { GenerationChunk } from '../../../src/engine/request/generation-chunk.ts';
import { HalfLifeMeter } from '../../../src/engine/request/half-lives.ts';
import type { OutputToken } from '../../../src/engine/request/request-output.ts';
import { RequestStream } from '../../../src/engine/request/request-stream.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { SamplingParamsError } from '../../../src/errors.ts';
import { few, grid } from '../../runs.ts';
import { chunksOf as allChunksOf } from '../chunks-of.ts';
import { GOLDEN } from '../golden-folder.ts';
import { HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

const PROMPT = Array.from({ length: 30 }, (_, i) => (i * 37 + 5) % 256);

const defaults = { temperature: 0, ignoreEos: true, maxTokens: 10 };

const chunksOf = (llm: LLM, prompt: readonly number[] | string, options: GenerateOptions) =>
  allChunksOf(llm, prompt, { ...defaults, ...options });

const flat = (chunk: GenerationChunk | undefined) => (chunk?.halfLives ?? []).flatMap((layer) => [...layer]);

/** Half-lives over several tokens: their decays multiply. */
function together(halfLives: readonly number[][]): number[] {
  return halfLives[0].map((_, i) => halfLives.length / halfLives.reduce((sum, one) => sum + 1 / one[i], 0));
}

function expectClose(found: readonly number[], expected: readonly number[]): void {
  expect(found).toHaveLength(expected.length);
  for (const [i, value] of found.entries()) expect(value / expected[i]).toBeCloseTo(1, 4);
}

describe('HalfLifeMeter', () => {
  test('a state that halves with every token has a half-life of one token', () => {
    const meter = new HalfLifeMeter(1);
    meter.add(3, [1, 2], Float32Array.of(-3 * Math.LN2, -Math.LN2, 0));
    expect(meter.report(1)).toEqual([Float32Array.of(1), Float32Array.of(3, Number.POSITIVE_INFINITY)]);
  });

  test('reports with the first token and every interval, if anything was read', () => {
    const meter = new HalfLifeMeter(3);
    const reported = [1, 2, 3, 4, 5, 6, 7, 8].filter((count) => {
      // As after a prompt that the cache knew whole.
      if (count > 1) meter.add(1, [1], Float32Array.of(-1));
      return meter.report(count) !== undefined;
    });
    expect(reported).toEqual([2, 5, 8]);
  });
});

describe.each(
  grid([
    ['reference', 1],
    ['cpu', 1],
    ['cpu', 2],
  ] as const),
)('half-lives on %s with %d ranks', (device, tensorParallelSize) => {
  test('are per layer and head, of the tokens read since the last, however prompts are cut', async () => {
    await using whole = await LLM.load(GOLDEN, { device, tensorParallelSize, enablePrefixCaching: false });
    await using cut = await LLM.load(GOLDEN, { device, tensorParallelSize, maxNumBatchedTokens: 7 });
    const each = await chunksOf(whole, PROMPT, { halfLifeInterval: 1 });
    const { numHiddenLayers, numHeads } = whole.config;
    for (const chunk of each) {
      expect(chunk.halfLives?.map(({ length }) => length)).toEqual(new Array(numHiddenLayers).fill(numHeads));
      expect(Math.min(...flat(chunk))).toBeGreaterThan(0);
    }
    const some = await chunksOf(cut, PROMPT, { halfLifeInterval: 4 });
    expect(some.map(({ halfLives }) => halfLives !== undefined)).toEqual(each.map((_, i) => i % 4 === 0));
    expectClose(flat(some[0]), flat(each[0]));
    expectClose(flat(some[4]), together(each.slice(1, 5).map(flat)));
  });

  test('cost requests without them nothing, and change no bit', async () => {
    await using llm = await LLM.load(GOLDEN, { device, tensorParallelSize, enablePrefixCaching: false });
    const alone = await chunksOf(llm, PROMPT, {});
    const [plain, watched, other] = await Promise.all([
      chunksOf(llm, PROMPT, {}),
      chunksOf(llm, PROMPT, { halfLifeInterval: 1 }),
      chunksOf(llm, PROMPT.slice(3), { halfLifeInterval: 2 }),
    ]);
    expect(plain).toEqual(alone);
    expect(watched.map(({ halfLives: _, ...rest }) => rest)).toEqual(alone);
    expect(flat(other[0])).not.toEqual(flat(watched[0]));
    expect(await chunksOf(llm, PROMPT, { halfLifeInterval: 1 })).toEqual(watched);
    expect(await chunksOf(llm, PROMPT, {})).toEqual(alone);
  });
});

test('one rank and several say the same', async () => {
  const found = [];
  for (const tensorParallelSize of few([1, 2, 4], 2)) {
    await using llm = await LLM.load(GOLDEN, { dtype: 'float32', tensorParallelSize });
    found.push((await chunksOf(llm, PROMPT, { halfLifeInterval: 3 })).filter((c) => c.halfLives));
  }
  for (const chunks of found.slice(1)) {
    for (const [i, chunk] of chunks.entries()) expectClose(flat(chunk), flat(found[0][i]));
  }
});

test.each(few(HYBRIDS))('hybrids have them for their mixers: %s', async (name) => {
  const folder = hybridFolder(name);
  await using one = await LLM.load(folder);
  await using two = await LLM.load(folder, { tensorParallelSize: 2, maxNumBatchedTokens: 8 });
  const expected = await chunksOf(one, PROMPT, { halfLifeInterval: 2 });
  const found = await chunksOf(two, PROMPT, { halfLifeInterval: 2 });
  expect(found.map(({ tokenId }) => tokenId)).toEqual(expected.map(({ tokenId }) => tokenId));
  expect(expected[0].halfLives?.length).toBeGreaterThan(0);
  for (const [i, chunk] of expected.entries()) if (chunk.halfLives) expectClose(flat(found[i]), flat(chunk));
});

test('what the cache knows is not read, and several answers each have their own', async () => {
  await using llm = await LLM.load(GOLDEN);
  const first = await chunksOf(llm, PROMPT, { halfLifeInterval: 1, n: 2, seed: 1, temperature: 1 });
  const reports = [0, 1].map((index) => first.filter((c) => c.index === index).map((c) => c.halfLives !== undefined));
  expect(reports).toEqual([new Array(10).fill(true), [false, ...new Array(9).fill(true)]]);
  const again = await chunksOf(llm, PROMPT, { halfLifeInterval: 5 });
  expect(again.flatMap((chunk, i) => (chunk.halfLives ? [i] : []))).toEqual([1, 6]);
});

test('an interval is a whole number from 1 on', async () => {
  await using llm = await LLM.load(GOLDEN);
  await expect(chunksOf(llm, PROMPT, { halfLifeInterval: 0 })).rejects.toThrow(SamplingParamsError);
  await expect(chunksOf(llm, PROMPT, { halfLifeInterval: 1.5 })).rejects.toThrow(/halfLifeInterval is 1.5/);
});

test('unread reports count as tokens, so that slow readers cost no more with them', () => {
  const stream = new RequestStream('1', { onRead: () => {}, onReturn: () => {} });
  const token = { tokenId: 1, logprob: -1, text: 'a' };
  const halfLives = Array.from({ length: 20 }, () => new Float32Array(128));
  const output = (tokens: OutputToken[]) => ({
    requestId: '1',
    numCachedTokens: 0,
    outputs: [{ index: 0, text: 'a', tokens, finishReason: null, stopReason: null }],
    finished: false,
  });
  stream.push(output([token]));
  expect(stream.unreadTokens).toBe(1);
  stream.push(output([{ ...token, halfLives }]));
  expect(stream.unreadTokens).toBe(2 + 10);
});
