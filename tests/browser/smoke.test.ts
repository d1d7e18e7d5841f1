import { fileURLToPath } from 'node:url';
import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { expectedCases } from '../cli/tiny-dts.ts';
import { goldenOutputs } from '../engine/hybrid-folders.ts';
import { need } from '../needs/needs.ts';
import { largestDifference } from '../numbers.ts';
import { PageUnderTest } from '../page/page-under-test.ts';
import { startServer } from '../server/test-server.ts';
import { startChromium } from './chromium.ts';
import type { GreedyResult } from './page.ts';
import { ROOT, startSite } from './site.ts';

const MODEL = './models/tiny-dts';
const GOLDEN = fileURLToPath(new URL('../goldens/mamba2', import.meta.url));
const executable = need('chromium');
const withWebGpu = need('chromium-webgpu');

async function act<Result>(
  tabs: Browser | BrowserContext,
  origin: string,
  name: string,
  ...parameters: unknown[]
): Promise<Result> {
  const page = await tabs.newPage();
  await page.goto(`${origin}/`);
  await page.waitForFunction(() => 'pageActions' in globalThis);
  return (await page.evaluate(`pageActions.${name}(...${JSON.stringify(parameters)})`)) as Result;
}

// One of each kind; the exhaustive tests of the browser and the pages have all.
describe.runIf(executable)('in Chromium', { timeout: 180_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
  });

  afterAll(() => browser?.close());

  test('the bundled model says on two ranks what transformers says, and is fetched once', async () => {
    const site = await startSite({ isolated: true });
    onTestFinished(() => site.close());
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const [{ prompt, greedy }] = await expectedCases();
    const weights = () => {
      const asked = site.requests.splice(0).filter(({ method }) => method === 'GET');
      return asked.filter(({ path }) => path.endsWith('.safetensors')).length;
    };
    for (const isFirst of [true, false]) {
      const options = { tensorParallelSize: 2 };
      const asked = [MODEL, options, [prompt], greedy.length];
      const result = await act<GreedyResult>(context, site.origin, 'greedy', ...asked);
      expect(result.tokenIds).toEqual([greedy]);
      expect(result.workers).toBe(2);
      expect(weights() > 0).toBe(isFirst);
    }
  });

  test("the server's page continues a text as the library does, and its playground loads the model", async () => {
    const server = await startServer({}, { chatTemplate: null });
    onTestFinished(() => server.close());
    const chat = await PageUnderTest.open(browser, `${server.url}/`);
    await chat.page.waitForFunction(() => document.getElementById('model-name')?.textContent === 'tiny-dts');
    await chat.set({ temperature: 0, maxTokens: 10 });
    const expected = await server.llm.complete('export interface User {\n', { temperature: 0, maxTokens: 10 });
    expect(await chat.write('export interface User {\n')).toBe(expected.text);
    const playground = await PageUnderTest.open(browser, `${server.url}/playground`);
    await playground.page.waitForFunction(() => document.getElementById('load-text')?.textContent === 'Ready.');
    expect([...chat.complaints, ...playground.complaints]).toEqual([]);
  });
});

describe.runIf(withWebGpu)('WebGPU in Chromium', { timeout: 300_000 }, () => {
  test('computes the logits of the golden model', async () => {
    const browser = await startChromium(withWebGpu ?? '', { webgpu: true });
    onTestFinished(() => browser.close());
    const folders = { '/dist/': `${ROOT}dist/`, '/node_modules/': `${ROOT}node_modules/`, '/golden/': GOLDEN };
    const site = await startSite({ isolated: false, folders });
    onTestFinished(() => site.close());
    const { inputIds, logits } = await goldenOutputs(GOLDEN);
    const found = await act<number[]>(browser, site.origin, 'logits', './golden', { device: 'webgpu' }, inputIds);
    expect(largestDifference(found, logits)).toBeLessThan(5e-3);
  });
});
