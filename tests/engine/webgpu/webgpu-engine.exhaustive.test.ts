import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { DeviceLostError, ShardingError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';

vi.setConfig({ testTimeout: 900_000 });

const BUNDLED = fileURLToPath(new URL('../../../models/tiny-dts/', import.meta.url));
const greedy = { temperature: 0, ignoreEos: true } as const;
/** Limits of few kernels, which software takes long to compile. */
const small = { maxNumSeqs: 1, maxNumBatchedTokens: 16 } as const;

describe.runIf(need('software-gpu'))('a model on webgpu', () => {
  let gpu: FaultyGpu;
  let llm: LLM;
  // To compile a model's kernels takes software longer than all that these tests ask of it.
  beforeAll(async () => {
    gpu = await FaultyGpu.install();
    llm = await LLM.load(GOLDEN, {
      device: 'webgpu',
      maxNumSeqs: 3,
      snapshotInterval: 5,
      tensorParallelSize: 'auto',
    });
  });
  afterAll(async () => {
    await llm?.dispose();
    gpu?.uninstall();
  });

  test('is one rank', async () => {
    expect(llm.device.device).toBe('webgpu');
    await expect(LLM.load(GOLDEN, { device: 'webgpu', tensorParallelSize: 2 })).rejects.toThrow(ShardingError);
  });

  test('gives the golden logits and tokens', async () => {
    const { input_ids, greedy: expected } = JSON.parse(await readFile(`${GOLDEN}/expected.json`, 'utf8'));
    await using cpu = await LLM.load(GOLDEN, { device: 'cpu' });
    const [logits, wanted] = [await llm.logits(input_ids), await cpu.logits(input_ids)];
    expect(Math.max(...logits.map((value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-4);
    const { tokenIds } = await llm.complete(input_ids, { ...greedy, maxTokens: expected.length });
    expect(tokenIds).toEqual(expected);
  });

  test('batches give what requests alone give, and sessions save and load', async () => {
    const prompts = [[1, 2, 3], [4, 5], [9], [7, 7, 7, 7]];
    const options = { ...greedy, maxTokens: 6 };
    const alone: (readonly number[])[] = [];
    for (const prompt of prompts) alone.push((await llm.complete(prompt, options)).tokenIds);
    const together = await Promise.all(prompts.map((prompt) => llm.complete(prompt, options)));
    expect(together.map(({ tokenIds }) => tokenIds)).toEqual(alone);
    const session = llm.createSession();
    await session.append([1, 2]);
    const again = await llm.loadSession(await session.save());
    const tokenIds: number[] = [];
    for await (const chunk of again.generate([3], options))
      if (chunk.tokenId !== undefined) tokenIds.push(chunk.tokenId);
    expect(tokenIds).toEqual(alone[0]);
  });

  test('chooses the tokens that the processor chooses, whatever is asked for', async () => {
    await using cpu = await LLM.load(GOLDEN, { device: 'cpu' });
    const { tokenIds } = await cpu.complete([1, 2, 3], { ...greedy, maxTokens: 12 });
    const asked: GenerateOptions[] = [
      {},
      { stopTokenIds: [tokenIds[4]], ignoreEos: false },
      { repetitionPenalty: 1.5, presencePenalty: 0.5 },
      { logitBias: { 9: 100 } },
      { minTokens: 8, stopTokenIds: [tokenIds[4]] },
      { logprobs: 2 },
      { topK: 1, temperature: 1 },
    ];
    const complete = (model: LLM) =>
      Promise.all(asked.map((options) => model.complete([1, 2, 3], { ...greedy, maxTokens: 12, seed: 7, ...options })));
    const [expected, found] = [await complete(cpu), await complete(llm)];
    expect(found.map((answer) => answer.tokenIds)).toEqual(expected.map((answer) => answer.tokenIds));
    expect(found.map(({ finishReason }) => finishReason)).toEqual(expected.map(({ finishReason }) => finishReason));
  });

  test('a lost device is lost for good without recovery', async () => {
    gpu.devices.at(-1)?.destroy();
    await expect(llm.complete([1], { maxTokens: 3 })).rejects.toThrow(DeviceLostError);
    await expect(llm.complete([1], { maxTokens: 3 })).rejects.toThrow(DeviceLostError);
  });
});

describe.runIf(need('software-gpu'))('a model on a device of its own', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test('gives the logits and the greedy text of the bundled model', async () => {
    const { cases } = JSON.parse(await readFile(`${BUNDLED}expected.json`, 'utf8'));
    await using llm = await LLM.load(BUNDLED, { device: 'webgpu', ...small });
    // Software takes seconds for a token.
    const [{ input_ids, greedy: all, last_logits }] = cases;
    const expected = all.slice(0, 8);
    const logits = (await llm.logits(input_ids)).slice(-last_logits.length);
    expect(Math.max(...logits.map((value, i) => Math.abs(value - last_logits[i])))).toBeLessThan(5e-3);
    const { tokenIds } = await llm.complete(input_ids, { ...greedy, maxTokens: expected.length });
    expect(tokenIds).toEqual(expected);
  });

  test('a lost device ends running requests with its error, and the engine continues with another', async () => {
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu', ...small, recover: true });
    const expected = await llm.complete([1, 2, 3], { ...greedy, maxTokens: 4 });
    const running = llm.generate([4, 5], { ...greedy, maxTokens: 1000 });
    await running.next();
    const waiting = llm.complete([1, 2, 3], { ...greedy, maxTokens: 4 });
    gpu.devices.at(-1)?.destroy();
    await expect(
      (async () => {
        for await (const _ of running);
      })(),
    ).rejects.toThrow(DeviceLostError);
    expect((await waiting).tokenIds).toEqual(expected.tokenIds);
    expect(gpu.devices).toHaveLength(2);
  });

  test('long prompts and wide logits go through small bindings', async () => {
    const { input_ids: ids } = JSON.parse(await readFile(`${GOLDEN}/expected.json`, 'utf8'));
    const prompt = Array.from({ length: 5 }, () => ids).flat();
    await using cpu = await LLM.load(GOLDEN, { device: 'cpu' });
    const wanted = await cpu.logits(prompt);
    // A row of the in-projection takes 1.4 KB, one of logits 1 KB, a slot's state 8 KB.
    const limits = { maxStorageBufferBindingSize: 32768, maxBufferSize: 32768 };
    gpu.onDevice = (device) => Object.defineProperty(device, 'limits', { value: withLimits(device.limits, limits) });
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu', maxNumSeqs: 1, maxNumBatchedTokens: 200 });
    const steps = llm.engine.stats().steps;
    const logits = await llm.logits(prompt);
    expect(llm.engine.stats().steps - steps).toBeGreaterThan(5);
    expect(logits).toHaveLength(wanted.length);
    expect(logits.every((value, i) => Math.abs(value - wanted[i]) < 1e-3)).toBe(true);
  });
});

function withLimits(limits: GPUSupportedLimits, overrides: Readonly<Record<string, number>>): Record<string, unknown> {
  const all: Record<string, unknown> = {};
  // They are getters of a prototype.
  for (const name in limits) all[name] = limits[name as keyof GPUSupportedLimits];
  return { ...all, ...overrides };
}
