import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { need } from '../../needs/needs.ts';
import { largestDifference } from '../../numbers.ts';
import { few } from '../../runs.ts';
import { FaultyGpu } from '../../software-gpu.ts';

vi.setConfig({ testTimeout: 900_000 });

const goldens = fileURLToPath(new URL('../../goldens/gguf', import.meta.url));
/** A hybrid and all common formats. Software compiles for a minute for each file; the tests on a GPU have the others, too. */
const names = ['bamba-Q4_K_M', 'mamba2-groups-Q2_K'];

describe.runIf(need('software-gpu'))("llama.cpp's logits and greedy tokens on webgpu, in the file's blocks", () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test.each(few(names))('%s', async (name) => {
    const { vocab, input_ids, greedy, rows } = JSON.parse(await readFile(`${goldens}/${name}.json`, 'utf8'));
    const expected = new Float32Array(Uint8Array.from(await readFile(`${goldens}/${name}.f32`)).buffer);
    const limits = { maxModelLen: 100, maxNumSeqs: 2, maxNumBatchedTokens: 20 };
    await using llm = await LLM.load(`${goldens}/${name}.gguf`, { device: 'webgpu', ...limits });
    const logits = await llm.logits(input_ids);
    const known = Float32Array.from(rows.flatMap((row: number) => [...logits.slice(row * vocab, (row + 1) * vocab)]));
    // A dozen times what was found; rounding activations to 8 bits makes a thousand times as much.
    expect(largestDifference(known, expected)).toBeLessThan(1e-4);
    const options = { temperature: 0, maxTokens: greedy.length, ignoreEos: true };
    const [whole] = await Promise.all([
      llm.complete(input_ids, options),
      llm.complete(input_ids.slice(0, 20), options),
    ]);
    expect(whole.tokenIds).toEqual(greedy);
  });
});
