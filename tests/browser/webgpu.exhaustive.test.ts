import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { expectedCases } from '../cli/tiny-dts.ts';
import { GOLDEN } from '../engine/golden-folder.ts';
import { goldenOutputs } from '../engine/hybrid-folders.ts';
import { need } from '../needs/needs.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { startChromium } from './chromium.ts';
import type { Failure, GreedyResult } from './page.ts';
import { ROOT, startSite } from './site.ts';

const MODEL = './models/tiny-dts';
const GGUF = fileURLToPath(new URL('../goldens/gguf/', import.meta.url));
const FILE = 'bamba-Q4_K_M';
const executable = need('chromium');
const withWebGpu = need('chromium-webgpu');
/** With limits of few kernels, which software takes long to compile. */
const small = { device: 'webgpu', maxNumSeqs: 1, maxNumBatchedTokens: 16 } as const;

// Software computes what a GPU should, and kernels are compiled anew for each page.
describe.runIf(withWebGpu)('WebGPU in Chromium', { timeout: 900_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startChromium(withWebGpu ?? '', { webgpu: true });
  });

  afterAll(() => browser?.close());

  async function act<Result>(name: string, ...parameters: readonly unknown[]): Promise<Result> {
    const folders = {
      '/dist/': `${ROOT}dist/`,
      '/node_modules/': `${ROOT}node_modules/`,
      '/models/': `${ROOT}models/`,
    };
    const site = await startSite({ isolated: false, folders: { ...folders, '/golden/': GOLDEN, '/gguf/': GGUF } });
    onTestFinished(() => site.close());
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.goto(`${site.origin}/`);
    await page.waitForFunction(() => 'pageActions' in globalThis);
    return (await page.evaluate(`pageActions.${name}(...${JSON.stringify(parameters)})`)) as Result;
  }

  test.each(few(['float32', 'bfloat16']))(
    'the bundled model says what transformers says, in a worker: %s',
    async (dtype) => {
      const [{ prompt, greedy: all }] = await expectedCases();
      // Software takes seconds for a token.
      const greedy = all.slice(0, 12);
      const options = { ...small, dtype };
      const result = await act<GreedyResult>('greedy', MODEL, options, [prompt], greedy.length);
      expect(result.device.device).toBe('webgpu');
      expect(result.workers).toBe(1);
      if (dtype === 'float32') expect(result.tokenIds).toEqual([greedy]);
      else expect(result.tokenIds[0]).toHaveLength(greedy.length);
    },
  );

  test('the golden model has the logits of transformers', async () => {
    const { inputIds, logits } = await goldenOutputs(GOLDEN);
    const found = await act<number[]>('logits', './golden', small, inputIds);
    expect(largestDifference(found, logits)).toBeLessThan(5e-3);
  });

  test("a GGUF file in its blocks has llama.cpp's logits", async () => {
    const { vocab, input_ids, rows } = JSON.parse(await readFile(`${GGUF}${FILE}.json`, 'utf8'));
    const expected = new Float32Array(Uint8Array.from(await readFile(`${GGUF}${FILE}.f32`)).buffer);
    const logits = await act<number[]>('logits', `./gguf/${FILE}.gguf`, small, input_ids);
    const known = rows.flatMap((row: number) => logits.slice(row * vocab, (row + 1) * vocab));
    expect(largestDifference(known, expected)).toBeLessThan(1e-4);
  });

  test('auto does not take a GPU that is software', async () => {
    const [{ prompt }] = await expectedCases();
    const { device } = await act<GreedyResult>('greedy', MODEL, {}, [prompt], 1);
    expect(device.device).toBe('cpu');
  });
});

describe.runIf(executable)('a browser without WebGPU', () => {
  test('says so', { timeout: 900_000 }, async () => {
    const browser = await startChromium(executable ?? '');
    onTestFinished(() => browser.close());
    const site = await startSite({ isolated: false });
    onTestFinished(() => site.close());
    const page = await browser.newPage();
    await page.goto(`${site.origin}/`);
    await page.waitForFunction(() => 'pageActions' in globalThis);
    const failure = (await page.evaluate(`pageActions.failure('${MODEL}', { device: 'webgpu' })`)) as Failure;
    expect(failure).toMatchObject({ name: 'UnsupportedDeviceError', code: 'unsupported_device' });
  });
});
