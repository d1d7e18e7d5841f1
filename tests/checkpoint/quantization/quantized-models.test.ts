import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { largestDifference } from '../../numbers.ts';
import { few, grid } from '../../runs.ts';
import { CASES } from './cases.ts';
import { quantizedGolden } from './quantized-golden.ts';

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
