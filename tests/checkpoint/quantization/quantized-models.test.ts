import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { UnexpectedTensorError } from '../../../src/errors.ts';
import { goldenConfig, goldenTensors } from '../../engine/golden-folder.ts';
import { largestDifference } from '../../numbers.ts';
import { few, grid } from '../../runs.ts';
import { makeFolder } from '../folders.ts';
import { CASES } from './cases.ts';
import { quantizedGolden } from './quantized-golden.ts';
import { bytesOf, rawSafetensors } from './raw-safetensors.ts';

const PROMPT = Array.from({ length: 9 }, (_, i) => (i * 53) % 256);

describe('a model with quantised projections gives the logits of that with the floats that they stand for', () => {
  const names = CASES.filter(({ hasModel }) => hasModel).map(({ name }) => name);
  // Layers are tried for all of them: here every number of ranks, and in a full run everything on each.
  const tried = grid(names.flatMap((name) => [1, 2, 4].map((ranks) => ({ name, ranks }))));

  test.each(few(tried, 3))('$name, $ranks ranks', async ({ name, ranks }) => {
    const quantization = CASES.find((entry) => entry.name === name);
    if (quantization === undefined) throw new Error(name);
    const { quantized, floats } = await quantizedGolden(quantization);
    const options = { device: 'cpu', tensorParallelSize: ranks } as const;
    await using llm = await LLM.load(quantized, { ...options, dtype: 'float32' });
    await using plain = await LLM.load(floats, options);
    const expected = await plain.logits(PROMPT);
    expect(await llm.logits(PROMPT)).toEqual(expected);
    // Matrices whose rows are whole blocks stay in their codes: kernels sum in another order, or quantise activations.
    await using kept = await LLM.load(quantized, options);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largestDifference(await kept.logits(PROMPT), expected)).toBeLessThan(0.05 * largest);
  });
});

test('biases that GPTQ gives layers without one are left out where they are zeros', async () => {
  const quantization = CASES.find(({ name }) => name === 'GPTQ, 4 bits');
  if (quantization === undefined) throw new Error('no GPTQ');
  const withBias = async (value: number) => {
    const pack: typeof quantization.pack = (prefix, weight) => {
      const { tensors, values } = quantization.pack(prefix, weight);
      const bytes = bytesOf(new Float32Array(weight.rows).fill(value));
      return { tensors: [...tensors, { name: `${prefix}.bias`, dtype: 'F32', shape: [weight.rows], bytes }], values };
    };
    return quantizedGolden({ ...quantization, pack });
  };
  const { quantized, floats } = await withBias(0);
  await using llm = await LLM.load(quantized, { device: 'cpu', dtype: 'float32' });
  await using plain = await LLM.load(floats, { device: 'cpu' });
  expect(await llm.logits(PROMPT)).toEqual(await plain.logits(PROMPT));
  const other = await withBias(0.5);
  await expect(LLM.load(other.quantized, { device: 'cpu' })).rejects.toThrow(UnexpectedTensorError);
});

test('a model that MLX has converted without quantising it has the logits of the original', async () => {
  const config = { 'config.json': await goldenConfig() };
  const folder = async (isConverted: boolean) => {
    const tensors = [...(await goldenTensors())].map(([name, { shape, data }]) => {
      const isTurned = isConverted && name.endsWith('conv1d.weight');
      return { name, dtype: 'F32', shape: isTurned ? [shape[0], shape[2], 1] : shape, bytes: bytesOf(data) };
    });
    return makeFolder({ ...config, 'model.safetensors': rawSafetensors(tensors) });
  };
  await using converted = await LLM.load(await folder(true), { device: 'cpu' });
  await using original = await LLM.load(await folder(false), { device: 'cpu' });
  expect(await converted.logits(PROMPT)).toEqual(await original.logits(PROMPT));
});
