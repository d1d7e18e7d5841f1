import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { goldenConfig, goldenTensors } from '../../engine/golden-folder.ts';
import { grid } from '../../runs.ts';
import { makeFolder } from '../folders.ts';
import { CASES, type QuantizationCase } from './cases.ts';
import { bytesOf, type RawTensor, rawSafetensors } from './raw-safetensors.ts';

/** Weights of linear layers. */
const PROJECTIONS = /\.(in|out)_proj\.weight$/;
const PROMPT = Array.from({ length: 23 }, (_, i) => (i * 53) % 256);

/** The tiny model with quantised projections, and that with the floats that these stand for. */
async function folders({ pack, config, files }: QuantizationCase): Promise<{ quantized: string; floats: string }> {
  const quantized: RawTensor[] = [];
  const floats: RawTensor[] = [];
  for (const [name, { shape, data }] of await goldenTensors()) {
    const plain = { name, dtype: 'F32', shape, bytes: bytesOf(data) };
    if (!PROJECTIONS.test(name)) {
      quantized.push(plain);
      floats.push(plain);
      continue;
    }
    const packed = pack(name.replace(/\.weight$/, ''), { rows: shape[0], columns: shape[1], data });
    quantized.push(...packed.tensors);
    floats.push({ ...plain, bytes: bytesOf(Float32Array.from(packed.values)) });
  }
  const golden = await goldenConfig();
  return {
    quantized: await makeFolder({
      'config.json': { ...golden, ...config },
      'model.safetensors': rawSafetensors(quantized),
      ...files,
    }),
    floats: await makeFolder({ 'config.json': golden, 'model.safetensors': rawSafetensors(floats) }),
  };
}

describe('a model with quantised projections gives the logits of that with the floats that they stand for', () => {
  const names = CASES.filter(({ hasModel }) => hasModel).map(({ name }) => name);
  const runs = grid(names.flatMap((name) => [1, 2, 4].map((ranks) => ({ name, ranks }))));

  test.each(runs)('$name, $ranks ranks', async ({ name, ranks }) => {
    const quantization = CASES.find((entry) => entry.name === name);
    if (quantization === undefined) throw new Error(name);
    const { quantized, floats } = await folders(quantization);
    const options = { device: 'cpu', tensorParallelSize: ranks } as const;
    await using llm = await LLM.load(quantized, options);
    await using plain = await LLM.load(floats, options);
    expect(await llm.logits(PROMPT)).toEqual(await plain.logits(PROMPT));
  });
});
