import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import type { GenerateOptions } from '../../src/engine/sample/sampling-params.ts';
import { DisposedError } from '../../src/errors.ts';
import type { DTypeChoice } from '../../src/tensor/dtype.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { few } from '../runs.ts';
import { GOLDEN } from './golden-folder.ts';

const PROMPT = 'export interface User {\n';

async function collect(llm: LLM, options: GenerateOptions, prompt: string | number[] = PROMPT) {
  const chunks = [];
  for await (const chunk of llm.generate(prompt, options)) chunks.push(chunk);
  return { chunks, text: chunks.map(({ text }) => text).join(''), tokenIds: chunks.map(({ tokenId }) => tokenId) };
}

describe('generate', () => {
  let llm: LLM;
  beforeAll(async () => {
    llm = await LLM.load('tiny-dts', { maxNumSeqs: 2 });
  });
  afterAll(() => llm.dispose());

  test('streams text whose pieces are the whole, with a reason on the last chunk only', async () => {
    const { chunks, text, tokenIds } = await collect(llm, { temperature: 0, maxTokens: 20, ignoreEos: true });
    expect(chunks.map(({ finishReason }) => finishReason)).toEqual([...new Array(19).fill(null), 'length']);
    expect(text).toBe(llm.tokenizer?.decode(tokenIds));
    expect(chunks.every(({ logprob }) => logprob <= 0)).toBe(true);
    expect(await llm.complete(PROMPT, { temperature: 0, maxTokens: 20, ignoreEos: true })).toMatchObject({
      text,
      tokenIds,
    });
  });

  test('a whole answer has the logprobs that its chunks have', async () => {
    const options = { temperature: 0, maxTokens: 3, ignoreEos: true, logprobs: 2 };
    const { chunks } = await collect(llm, options);
    const logprobs = chunks.map(({ tokenId, logprob, topLogprobs }) => ({ tokenId, logprob, topLogprobs }));
    const whole = await llm.complete(PROMPT, options);
    expect(whole.logprobs).toEqual(logprobs);
    expect(whole.choices[0].logprobs).toEqual(logprobs);
    expect(await llm.complete(PROMPT, { ...options, logprobs: undefined })).not.toHaveProperty('logprobs');
    const chat = await llm.completeChat([{ role: 'user', content: PROMPT }], options);
    expect(chat.logprobs?.map(({ tokenId }) => tokenId)).toEqual(chat.tokenIds);
  });

  test('ends before a stop string, and after a stop token', async () => {
    const free = await collect(llm, { temperature: 0, maxTokens: 40, ignoreEos: true });
    const stop = free.text.slice(20, 24);
    const stopped = await collect(llm, { temperature: 0, maxTokens: 40, ignoreEos: true, stop });
    expect(stopped.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
    expect(stopped.chunks.at(-1)?.finishReason).toBe('stop');

    const id = free.tokenIds[5];
    const byToken = await collect(llm, { temperature: 0, maxTokens: 40, ignoreEos: true, stopTokenIds: [id] });
    expect(byToken.tokenIds).toEqual(free.tokenIds.slice(0, free.tokenIds.indexOf(id) + 1));
    expect(byToken.chunks.at(-1)?.finishReason).toBe('stop');
  });

  test('a seed repeats; concurrent generations do not disturb each other', async () => {
    const options = { seed: 11, temperature: 1, maxTokens: 12, ignoreEos: true };
    const alone = await collect(llm, options);
    // Three at once on two slots: the third waits for one.
    const together = await Promise.all([
      collect(llm, options),
      collect(llm, { ...options, seed: 12 }),
      collect(llm, options),
    ]);
    expect(together[0].tokenIds).toEqual(alone.tokenIds);
    expect(together[2].tokenIds).toEqual(alone.tokenIds);
    expect(together[1].tokenIds).not.toEqual(alone.tokenIds);
  });

  test('leaving the loop early frees the slot', async () => {
    await using llm = await LLM.load(GOLDEN, { maxNumSeqs: 1 });
    for (let i = 0; i < 3; i++) {
      for await (const _ of llm.generate([1, 2, 3])) break;
    }
    expect((await llm.complete([1, 2, 3], { maxTokens: 3, ignoreEos: true })).tokenIds).toHaveLength(3);
  });

  test('a slot that another sequence used before changes nothing', async () => {
    await using llm = await LLM.load(GOLDEN, { maxNumSeqs: 1 });
    const options = { temperature: 0, maxTokens: 8, ignoreEos: true };
    const fresh = await llm.complete([7], options);
    await llm.complete([9, 8, 7, 6, 5], options);
    expect(await llm.complete([7], options)).toEqual(fresh);
  });
});

describe('abort and dispose', () => {
  test('a signal ends a generation with its reason, before, between and while waiting', async () => {
    await using llm = await LLM.load(GOLDEN, { maxNumSeqs: 1 });
    const reason = new Error('enough');
    await expect(collect(llm, { signal: AbortSignal.abort(reason) }, [1])).rejects.toBe(reason);

    const controller = new AbortController();
    const running = llm.generate([1], { maxTokens: 1000, ignoreEos: true, signal: controller.signal });
    await running.next();
    const waiting = new AbortController();
    const second = collect(llm, { signal: waiting.signal }, [2]);
    waiting.abort(reason);
    await expect(second).rejects.toBe(reason);
    setTimeout(() => controller.abort(reason), 5);
    const rest = async () => {
      for await (const _ of running);
    };
    await expect(rest()).rejects.toBe(reason);
    expect((await llm.complete([1], { maxTokens: 1 })).tokenIds).toHaveLength(1);
  });

  test('loading can be aborted, in one thread and in ranks', async () => {
    for (const tensorParallelSize of [1, 2]) {
      const controller = new AbortController();
      const reason = new Error('enough');
      const onProgress = () => controller.abort(reason);
      await expect(LLM.load(GOLDEN, { tensorParallelSize, signal: controller.signal, onProgress })).rejects.toBe(
        reason,
      );
    }
  });

  test('a disposed model refuses everything', async () => {
    for (const tensorParallelSize of [1, 2]) {
      const llm = await LLM.load(GOLDEN, { tensorParallelSize });
      const running = llm.generate([1], { maxTokens: 50, ignoreEos: true });
      await running.next();
      await llm.dispose();
      await expect(running.next()).rejects.toThrow(DisposedError);
      await expect(llm.complete([1])).rejects.toThrow(DisposedError);
      await expect(llm.logits([1])).rejects.toThrow(DisposedError);
    }
  });
});

describe('evaluation and dtypes', () => {
  test.each([
    ['reference', 'auto'],
    ['cpu', 'float32'],
    ['cpu', 'bfloat16'],
    ['cpu', 'float16'],
    ['cpu', 'int8'],
    ['cpu', 'int4'],
  ] as const)('%s %s: no bit of the logits depends on how the prompt is cut', async (device, dtype) => {
    const ids = Array.from({ length: 50 }, (_, i) => (i * 37) % 256);
    await using whole = await LLM.load(GOLDEN, { device, dtype });
    await using cut = await LLM.load(GOLDEN, { device, dtype, maxNumBatchedTokens: 7 });
    await using stepwise = await LLM.load(GOLDEN, { device, dtype, maxNumBatchedTokens: 1 });
    const logits = await whole.logits(ids);
    expect(await cut.logits(ids)).toEqual(logits);
    expect(await stepwise.logits(ids)).toEqual(logits);
    const logprobs = await whole.logprobs(ids);
    expect(await cut.logprobs(ids)).toEqual(logprobs);
    const row = logits.subarray(0, 256);
    const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
    expect(logprobs[0]).toBeCloseTo(row[ids[1]] - Math.log(total), 5);
  });

  test('auto takes as many ranks as the heads allow, with the same text', async () => {
    await using one = await LLM.load('tiny-dts', { device: 'cpu' });
    await using all = await LLM.load('tiny-dts', { device: 'cpu', tensorParallelSize: 'auto' });
    const options = { temperature: 0, maxTokens: 12, ignoreEos: true };
    expect((await all.complete(PROMPT, options)).text).toBe((await one.complete(PROMPT, options)).text);
  });

  test('progress reports every tensor once and ends with ready', async () => {
    const events: string[] = [];
    await using llm = await LLM.load(GOLDEN, { onProgress: ({ status }) => events.push(status) });
    expect(llm.config.vocabSize).toBe(256);
    expect(events.at(-1)).toBe('ready');
    expect(events.filter((status) => status === 'load')).toHaveLength(29);
  });

  test('narrower weights lose as little as their formats promise', async () => {
    const ids = Array.from({ length: 200 }, (_, i) => (i * 37) % 4096);
    const loss = async (dtype: DTypeChoice) => {
      await using llm = await LLM.load('tiny-dts', { dtype });
      const logprobs = await llm.logprobs(ids);
      return -logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
    };
    const exact = await loss('float32');
    const allowed = [
      ['int4', 0.04],
      ['int8', 0.005],
      ['bfloat16', 0],
      ['auto', 0],
    ] as const;
    for (const [dtype, most] of few(allowed, 2)) {
      expect(Math.abs((await loss(dtype)) / exact - 1), dtype).toBeLessThanOrEqual(most);
    }
  });
});

test('one rank on a thread of its own gives the same, and leaves the caller its turns meanwhile', async () => {
  await using inline = await LLM.load(TINY_DTS, { device: 'cpu' });
  await using own = await LLM.load(TINY_DTS, { device: 'cpu', ownThread: true });
  const options = { maxTokens: 8, temperature: 0 };
  const expected = await inline.complete('export interface User {', options);
  expect(await own.complete('export interface User {', options)).toEqual(expected);
  let turns = 0;
  let isDone = false;
  const count = () => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  await own.logits(Array.from({ length: 500 }, (_, i) => i));
  isDone = true;
  // The step itself is one turn where it holds the thread.
  expect(turns).toBeGreaterThan(20);
});
