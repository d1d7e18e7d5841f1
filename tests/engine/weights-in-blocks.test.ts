import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { LLM } from '../../src/engine/llm.ts';
import type { GenerateOptions } from '../../src/engine/sample/sampling-params.ts';
import { storedFormats } from '../../src/engine/weights/stored-formats.ts';
import { ModelMismatchError } from '../../src/errors.ts';
import { defineModel } from '../../src/models/registry.ts';
import { isBlockFormat } from '../../src/tensor/block-formats.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { chunksOf } from './chunks-of.ts';

const file = (name: string) => fileURLToPath(new URL(`../goldens/gguf/${name}.gguf`, import.meta.url));
const promptOf = async (name: string): Promise<number[]> =>
  JSON.parse(await readFile(file(name).replace('.gguf', '.json'), 'utf8')).input_ids;

describe.each(few(['bamba-Q4_K_M', 'falcon-h1-Q4_K_M', 'nemotron-h-Q4_K_M']))('%s on cpu', (name) => {
  test('keeps the blocks of all matrices whose rows are whole ones', async () => {
    const checkpoint = await Checkpoint.open(file(name));
    const definition = defineModel(checkpoint.config, checkpoint.names());
    const formats = storedFormats(checkpoint, definition, new Set(['Q4_K', 'Q6_K']));
    const stored = checkpoint.names().filter((each) => /^Q[46]_K$/.test(checkpoint.info(each).dtype));
    const kept = [...formats.values()].filter(isBlockFormat);
    expect(kept.sort()).toEqual(stored.map((each) => checkpoint.info(each).dtype).sort());
    expect(new Set(kept)).toEqual(new Set(['Q4_K', 'Q6_K']));
    await checkpoint.close();
  });

  test('gives the logits of the values that the blocks stand for, but for quantised activations', async () => {
    const ids = await promptOf(name);
    await using exact = await LLM.load(file(name), { device: 'cpu', dtype: 'float32' });
    const expected = await exact.logits(ids);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (const tensorParallelSize of [1, 2]) {
      await using llm = await LLM.load(file(name), { device: 'cpu', tensorParallelSize });
      // 5 % were found; a wrong scale makes as much as the logits are.
      expect(largestDifference(await llm.logits(ids), expected)).toBeLessThan(0.1 * largest);
    }
  });

  test.each([1, 2])('every answer under load is what the request gets alone, %d ranks', async (tensorParallelSize) => {
    const ids = await promptOf(name);
    const requests: (readonly [number[], GenerateOptions])[] = [
      [ids, { temperature: 0, maxTokens: 6 }],
      [ids.slice(0, 1), { temperature: 1, seed: 2, maxTokens: 9, logprobs: 2 }],
      [ids.slice(3, 36), { temperature: 1, seed: 5, maxTokens: 7 }],
      [ids.slice(0, 20), { temperature: 0.8, seed: 1, maxTokens: 12 }],
    ];
    const common = { device: 'cpu', tensorParallelSize } as const;
    await using single = await LLM.load(file(name), { ...common, enablePrefixCaching: false });
    const alone = [];
    for (const [prompt, options] of requests)
      alone.push(await chunksOf(single, prompt, { ignoreEos: true, ...options }));
    await using busy = await LLM.load(file(name), { ...common, maxNumSeqs: 3, maxNumBatchedTokens: 16 });
    const together = requests.map(([prompt, options]) => chunksOf(busy, prompt, { ignoreEos: true, ...options }));
    expect(await Promise.all(together)).toEqual(alone);
  });
});

test('a session of other roundings is refused', async () => {
  const name = 'nemotron-h-Q4_K_M';
  await using blocks = await LLM.load(file(name), { device: 'cpu' });
  const session = blocks.createSession();
  for await (const _ of session.generate(await promptOf(name), { maxTokens: 2, ignoreEos: true }));
  const saved = await session.save();
  await using floats = await LLM.load(file(name), { device: 'cpu', dtype: 'float32' });
  await expect(floats.loadSession(saved)).rejects.toThrow(ModelMismatchError);
});
