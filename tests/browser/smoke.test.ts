import type { Browser, BrowserContext } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/contract/backend.ts';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { expectedCases } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { largestDifference } from '../numbers.ts';
import { PageUnderTest } from '../page/page-under-test.ts';
import { few } from '../runs.ts';
import { startServer } from '../server/test-server.ts';
import { startChromium } from './chromium.ts';
import type { GreedyResult } from './page.ts';
import { startSite } from './site.ts';

const MODEL = './models/tiny-dts';
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
    for (const isFirst of few([true, false])) {
      const options = { tensorParallelSize: 2 };
      const asked = [MODEL, options, [prompt], greedy.length];
      const result = await act<GreedyResult>(context, site.origin, 'greedy', ...asked);
      expect(result.tokenIds).toEqual([greedy]);
      expect(result.workers).toBe(2);
      expect(weights() > 0).toBe(isFirst);
    }
  });

  test('answers have a form, in a page that is not isolated', async () => {
    const site = await startSite({ isolated: false });
    onTestFinished(() => site.close());
    const schema = { type: 'object', properties: { admin: { type: 'boolean' } }, required: ['admin'] };
    const forms = [{ json: schema }, { choice: ['cac', 'cbc', 'cbab'] }, { regex: '[0-9]{3}' }];
    const [json, choice, digits] = await act<string[]>(browser, site.origin, 'formed', MODEL, forms, 40);
    expect(JSON.parse(json)).toEqual({ admin: expect.any(Boolean) });
    expect(forms[1].choice).toContain(choice);
    expect(digits).toMatch(/^[0-9]{3}$/);
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
  // Software takes half a minute to compile a model's kernels: the exhaustive tests have models.
  test('computes what the reference does', async () => {
    const browser = await startChromium(withWebGpu ?? '', { webgpu: true });
    onTestFinished(() => browser.close());
    const site = await startSite({ isolated: false });
    onTestFinished(() => site.close());
    const page = await browser.newPage();
    await page.goto(`${site.origin}/`);
    const values = Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const found = await page.evaluate(`(async () => {
      const { createWebGpuBackend } = await import('/dist/backends/webgpu/create-backend.js');
      const backend = await createWebGpuBackend();
      return [...(await (${normed})(backend, ${JSON.stringify(values)}))];
    })()`);
    const expected = await normed(new ReferenceBackend(), values);
    expect(largestDifference(found as number[], expected)).toBeLessThan(1e-5);
  });
});

/** Values in rows, normalized. Its text runs in the page. */
function normed(backend: Backend, values: readonly number[]): Promise<Float32Array> {
  const x = backend.tensor(Float32Array.from(values), [4, 16]);
  const weight = backend.tensor(new Float32Array(16).fill(0.5), [16]);
  return backend.read(backend.rmsNorm(x, weight, 1e-5));
}
