import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { FilePool } from '../../src/checkpoint/files/file-pool.ts';
import { SafetensorsFile } from '../../src/checkpoint/safetensors/safetensors.ts';
import { LLM } from '../../src/engine/llm.ts';
import { largestDifference } from '../numbers.ts';
import { few, grid } from '../runs.ts';

/** What transformers computed for a model, in float32. */
interface Golden {
  readonly input_ids: number[];
  readonly greedy: number[];
}

const GOLDEN = fileURLToPath(new URL('../goldens/mamba2/', import.meta.url));
const BUNDLED = fileURLToPath(new URL('../../models/tiny-dts/', import.meta.url));

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

async function readTensor(path: string, name: string): Promise<Float32Array> {
  const pool = new FilePool();
  try {
    return await (await SafetensorsFile.open(await pool.source(path))).readFloat32(name);
  } finally {
    await pool.close();
  }
}

const RUNS = (['reference', 'auto'] as const).flatMap((device) =>
  few([1, 2, 4], 2).flatMap((ranks) => [7, 512].map((stepTokens) => ({ device, ranks, stepTokens }))),
);

describe('the Mamba-2 golden model', () => {
  test.each(grid(RUNS))(
    'on $device with $ranks ranks and $stepTokens prompt tokens a step',
    async ({ device, ranks, stepTokens }) => {
      const { input_ids, greedy } = await readJson<Golden>(`${GOLDEN}expected.json`);
      const expected = await readTensor(`${GOLDEN}expected.safetensors`, 'logits');
      const limits = { tensorParallelSize: ranks, maxNumBatchedTokens: stepTokens };
      await using llm = await LLM.load(GOLDEN, { device, ...limits, checkFinite: true });
      expect(largestDifference(await llm.logits(input_ids), expected)).toBeLessThan(1e-4);
      const completion = await llm.complete(input_ids, { temperature: 0, maxTokens: greedy.length, ignoreEos: true });
      expect(completion.tokenIds).toEqual(greedy);
    },
  );
});

describe('the bundled model', () => {
  test('gives the logits and the greedy text that transformers gives', async () => {
    const { cases } = await readJson<{ cases: (Golden & { prompt: string; last_logits: number[] })[] }>(
      `${BUNDLED}expected.json`,
    );
    await using llm = await LLM.load(BUNDLED);
    for (const { prompt, input_ids, greedy, last_logits } of cases) {
      expect(llm.tokenize(prompt)).toEqual(input_ids);
      const logits = await llm.logits(input_ids);
      expect(largestDifference(logits.slice(-last_logits.length), last_logits)).toBeLessThan(2e-3);
      const completion = await llm.complete(prompt, { temperature: 0, maxTokens: greedy.length, ignoreEos: true });
      expect(completion.tokenIds).toEqual(greedy);
    }
  });

  test('gives them on two ranks', async () => {
    const { cases } = await readJson<{ cases: (Golden & { last_logits: number[] })[] }>(`${BUNDLED}expected.json`);
    const [{ input_ids, last_logits }] = cases;
    await using llm = await LLM.load(BUNDLED, { tensorParallelSize: 2 });
    const logits = await llm.logits(input_ids);
    expect(largestDifference(logits.slice(-last_logits.length), last_logits)).toBeLessThan(2e-3);
  });
});
