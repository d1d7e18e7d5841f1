import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import type { GenerateOptions } from '../../src/engine/sample/sampling-params.ts';
import type { PromptTokenLogprob } from '../../src/engine/sample/token-logprob.ts';
import { few } from '../runs.ts';
import { chunksOf } from './chunks-of.ts';
import { GOLDEN } from './golden-folder.ts';

const TEXT = [
  'export interface User {\n  readonly id: number;\n  readonly name: string;\n',
  'declare module "fs" {\n  export function readFile(path: string, ',
  '/** Options of a server. */\nexport interface ServerOptions {\n  port?: number;\n',
];

/** Requests of all kinds. Several share prompts, or beginnings of them. */
const REQUESTS: readonly (readonly [prompt: string, options: GenerateOptions])[] = [
  [TEXT[0], { temperature: 0, maxTokens: 12 }],
  [TEXT[0], { temperature: 0.8, seed: 3, maxTokens: 9, logprobs: 3 }],
  [TEXT[0] + TEXT[1], { temperature: 1, topP: 0.9, topK: 40, seed: 9, maxTokens: 14 }],
  [TEXT[1].repeat(6), { temperature: 0, repetitionPenalty: 1.2, maxTokens: 8 }],
  [TEXT[1].repeat(6) + TEXT[2], { temperature: 0.7, minP: 0.05, presencePenalty: 0.5, seed: 1, maxTokens: 10 }],
  [TEXT[2], { temperature: 1.3, frequencyPenalty: 0.4, seed: 5, maxTokens: 16, stop: ';' }],
  [TEXT[2], { temperature: 1, seed: 8, minTokens: 4, maxTokens: 7, logitBias: { 30: 4 }, badWords: ['port'] }],
  ['e', { temperature: 1, seed: 2, maxTokens: 6 }],
];

describe.each(
  few([
    ['int8', 2],
    ['float32', 1],
    ['float32', 2],
    ['int8', 1],
  ] as const),
)('under load, with %s weights on %d ranks', (dtype, tensorParallelSize) => {
  test('every answer is what the request gets alone, to the last bit of its logprobs', async () => {
    const common = { device: 'cpu', dtype, tensorParallelSize } as const;
    await using single = await LLM.load('tiny-dts', { ...common, enablePrefixCaching: false });
    const alone = [];
    for (const [prompt, options] of REQUESTS)
      alone.push(await chunksOf(single, prompt, { ignoreEos: true, ...options }));
    // Chunked prompts, slots that change hands, states that come from the cache and leave it, and room for all at once.
    for (const limits of [
      { maxNumSeqs: 3, maxNumBatchedTokens: 40, snapshotInterval: 16, prefixCacheBytes: 40e6 },
      { maxNumSeqs: 16 },
    ]) {
      await using loaded = await LLM.load('tiny-dts', { ...common, ...limits });
      for (let round = 0; round < 2; round++) {
        const together = REQUESTS.map(([prompt, options]) => chunksOf(loaded, prompt, { ignoreEos: true, ...options }));
        expect(await Promise.all(together)).toEqual(alone);
        loaded.engine.checkIntegrity();
      }
      const { prefixCache, freeSlots, slots } = loaded.engine.stats();
      expect(prefixCache.hits).toBeGreaterThan(0);
      expect(freeSlots).toBe(slots);
    }
  }, 300_000);
});

describe('several answers to one prompt', () => {
  test('are those of the seeds that follow each other, with one prefill', async () => {
    await using llm = await LLM.load('tiny-dts', { dtype: 'int8', maxNumSeqs: 3 });
    const options = { temperature: 1, maxTokens: 10, ignoreEos: true };
    const { choices, promptTokenIds, ...first } = await llm.complete(TEXT[0], { ...options, seed: 20, n: 5 });
    expect(llm.engine.stats().prefillTokens).toBe(promptTokenIds.length);
    expect(choices).toHaveLength(5);
    expect(first).toEqual(choices[0]);
    for (const [index, choice] of choices.entries()) {
      const { tokenIds } = await llm.complete(TEXT[0], { ...options, seed: 20 + index });
      expect(choice.tokenIds).toEqual(tokenIds);
    }
  });

  test('end each on its own', async () => {
    await using llm = await LLM.load('tiny-dts', { dtype: 'int8', maxNumSeqs: 8 });
    const chunks = await chunksOf(llm, 'export ', { temperature: 2, seed: 4, n: 8, stop: ['e', ';'], maxTokens: 9 });
    const ends = chunks.filter(({ finishReason }) => finishReason);
    expect(ends.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const lengths = ends.map(({ index }) => chunks.filter((chunk) => chunk.index === index).length);
    expect(new Set(lengths).size).toBeGreaterThan(1);
    expect(llm.engine.stats()).toMatchObject({ freeSlots: 8, completionTokens: chunks.length });
  });
});

describe('the prefix cache', () => {
  test.each(
    few([
      ['int8', 2],
      ['float32', 1],
    ] as const),
  )(
    '%s on %d ranks: costs no token the second time, and an edit no more than to the end and an interval',
    async (dtype, ranks) => {
      await using llm = await LLM.load(GOLDEN, { dtype, tensorParallelSize: ranks, maxNumSeqs: 2 });
      await using fresh = await LLM.load(GOLDEN, { dtype, tensorParallelSize: ranks, enablePrefixCaching: false });
      const ids = Array.from({ length: 700 }, (_, i) => 1 + ((i * 37) % 250));
      const options = { temperature: 1, seed: 6, maxTokens: 4, ignoreEos: true, logprobs: 2 };
      const cost = async (prompt: number[]) => {
        const before = llm.engine.stats().prefillTokens;
        expect(await chunksOf(llm, prompt, options)).toEqual(await chunksOf(fresh, prompt, options));
        return llm.engine.stats().prefillTokens - before;
      };
      expect(await cost(ids)).toBe(700);
      expect(await cost(ids)).toBe(0);
      expect(await cost(ids.with(600, 5))).toBe(700 - 512);
      expect(await cost(ids.with(300, 5))).toBe(700 - 256);
      const { tokenIds } = await llm.complete(ids, options);
      expect(await cost([...ids, ...tokenIds, 7, 8])).toBeLessThanOrEqual(3);
    },
  );

  test('forgets what exceeds its bytes, and never the right answer', async () => {
    await using llm = await LLM.load('tiny-dts', { prefixCacheBytes: 9e6, maxNumSeqs: 2 });
    const answers = new Map<string, readonly number[]>();
    for (let round = 0; round < 2; round++) {
      for (const text of TEXT) {
        const { tokenIds } = await llm.complete(text, { temperature: 0, maxTokens: 3 });
        expect(answers.get(text) ?? tokenIds).toEqual(tokenIds);
        answers.set(text, tokenIds);
      }
    }
    const { bytes, evictions } = llm.engine.stats().prefixCache;
    expect(bytes).toBeLessThanOrEqual(9e6);
    expect(evictions).toBeGreaterThan(0);
  });
});

describe('aborts', () => {
  test('in any step free the slot and disturb no other request', async () => {
    await using llm = await LLM.load(GOLDEN, { maxNumSeqs: 4, maxNumBatchedTokens: 8 });
    const options = { temperature: 0, maxTokens: 12, ignoreEos: true };
    const prompts = [0, 1, 2, 3].map((i) => Array.from({ length: 20 + i }, (_, t) => (t * 31 + i * 7) % 256));
    const alone = [];
    for (const prompt of prompts) alone.push((await llm.complete(prompt, options)).tokenIds);
    for (let turn = 0; turn < 30; turn += 3) {
      const controller = new AbortController();
      const aborted = prompts.map((prompt) => llm.complete([9, ...prompt], { ...options, signal: controller.signal }));
      const kept = prompts.map((prompt) => llm.complete(prompt, options));
      for (let i = 0; i < turn; i++) await new Promise((resolve) => setImmediate(resolve));
      controller.abort(new Error('enough'));
      llm.engine.checkIntegrity();
      await Promise.allSettled(aborted);
      expect((await Promise.all(kept)).map(({ tokenIds }) => tokenIds)).toEqual(alone);
      expect(llm.engine.stats()).toMatchObject({ freeSlots: 4, runningRequests: 0 });
    }
  });
});

describe('what a request may ask for', () => {
  test('logprobs: the likeliest tokens besides the chosen one, from the same distribution', async () => {
    await using llm = await LLM.load(GOLDEN);
    const prompt = [1, 2, 3, 4];
    const chunks = await chunksOf(llm, prompt, { temperature: 0, maxTokens: 3, ignoreEos: true, logprobs: 4 });
    const logits = await llm.logits([...prompt, ...chunks.map(({ tokenId }) => tokenId)]);
    for (const [i, { tokenId, logprob, topLogprobs = [] }] of chunks.entries()) {
      const row = Array.from(logits.subarray((3 + i) * 256, (4 + i) * 256));
      const order = row.map((_, id) => id).sort((a, b) => row[b] - row[a] || a - b);
      expect(topLogprobs.map((top) => top.tokenId)).toEqual(order.slice(0, 4));
      expect(topLogprobs[0]).toEqual({ tokenId, logprob });
      expect(topLogprobs[2].logprob - topLogprobs[0].logprob).toBeCloseTo(row[order[2]] - row[order[0]], 5);
    }
    expect((await chunksOf(llm, prompt, { maxTokens: 1 }))[0].topLogprobs).toBeUndefined();
  });

  test('prompt logprobs: one for each token but the first, whatever the cache has', async () => {
    await using llm = await LLM.load(GOLDEN, { maxNumBatchedTokens: 3 });
    const promptTokenIds = [5, 6, 7, 8, 9, 10, 11];
    const expected = await llm.logprobs(promptTokenIds);
    const params = llm.resolveSamplingParams({ promptLogprobs: 2, maxTokens: 2, ignoreEos: true });
    for (let round = 0; round < 2; round++) {
      const found: (PromptTokenLogprob | null)[] = [];
      for await (const output of llm.engine.addRequest({ promptTokenIds, params })) {
        found.push(...(output.promptLogprobs ?? []));
      }
      expect(found[0]).toBeNull();
      expect(found.slice(1).map((token) => token?.tokenId)).toEqual(promptTokenIds.slice(1));
      expect(found.slice(1).map((token) => token?.logprob)).toEqual([...expected]);
      expect(found[1]?.topLogprobs).toHaveLength(2);
    }
  });

  test('stop strings as part of the text, after a least number of tokens', async () => {
    await using llm = await LLM.load('tiny-dts');
    const options = { temperature: 0, maxTokens: 40, ignoreEos: true };
    const { text } = await llm.complete(TEXT[0], options);
    const stop = text.slice(8, 11);
    const cut = text.slice(0, text.indexOf(stop));
    expect((await llm.complete(TEXT[0], { ...options, stop })).text).toBe(cut);
    const included = await chunksOf(llm, TEXT[0], { ...options, stop, includeStopStrInOutput: true });
    expect(included.map((chunk) => chunk.text).join('')).toBe(cut + stop);
    expect(included.at(-1)).toMatchObject({ finishReason: 'stop', stopReason: stop });
    const late = await llm.complete(TEXT[0], { ...options, stop, minTokens: 30 });
    expect(late.tokenIds.length).toBeGreaterThan(29);
  });

  test('the end of text, shown or not', async () => {
    await using llm = await LLM.load('tiny-dts');
    const eos = llm.tokenizer?.eosTokenId ?? 0;
    const options = { temperature: 0, maxTokens: 5, logitBias: { [eos]: 100 } };
    const [end] = await chunksOf(llm, TEXT[0], options);
    expect(end).toMatchObject({ tokenId: eos, text: '', finishReason: 'stop', stopReason: null });
    expect(await chunksOf(llm, TEXT[0], { ...options, minTokens: 3 })).toHaveLength(4);
    const shown = await llm.complete(TEXT[0], { ...options, ignoreEos: true, skipSpecialTokens: false, maxTokens: 2 });
    expect(shown.text).toBe(llm.tokenizer?.decode([eos, eos], { skipSpecialTokens: false }));
  });
});
