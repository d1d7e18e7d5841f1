import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SECTIONS } from '../backends/suite/backend-suite.ts';
import { need } from '../needs/needs.ts';
import { type Page as ServedPage, StaticServer } from '../static-server.ts';
import { startChromium } from './chromium.ts';
import type { CaseResult } from './suite/vitest-in-page.ts';

const executable = need('chromium-webgpu');
const inSuite = (file: string) => fileURLToPath(new URL(`suite/${file}`, import.meta.url));

/** The suite with a stand-in for vitest, for a page: what a server has to give, by path. */
async function bundleSuite(): Promise<ReadonlyMap<string, ServedPage>> {
  const built = await build({
    configFile: false,
    logLevel: 'error',
    resolve: { alias: { vitest: inSuite('vitest-in-page.ts') } },
    // What tests/runs.ts reads: pages have no environment. Every case runs in Node with the same driver, so here a share of
    // them is enough to show where browsers differ.
    define: { 'process.env.MAMBA2_RUNS': JSON.stringify('0.1') },
    build: {
      write: false,
      target: 'esnext',
      minify: false,
      rolldownOptions: {
        input: { suite: inSuite('suite-page.ts') },
        // Node's own way to a GPU, which pages never take.
        external: ['webgpu'],
        output: { entryFileNames: '[name].js' },
      },
    },
  });
  const pages = new Map<string, ServedPage>([
    ['/', { content: '<script type="module" src="/suite.js"></script>', contentType: 'text/html' }],
  ]);
  for (const { output } of [built].flat().filter((one) => 'output' in one)) {
    for (const file of output) {
      if (file.type === 'chunk') pages.set(`/${file.fileName}`, { content: file.code, contentType: 'text/javascript' });
    }
  }
  return pages;
}

describe.runIf(executable)('webgpu backend in Chromium', { timeout: 900_000 }, () => {
  let browser: Browser;
  let site: StaticServer;
  let page: Page;

  beforeAll(async () => {
    site = await StaticServer.start({ pages: await bundleSuite() });
    browser = await startChromium(executable ?? '', { webgpu: true });
    page = await browser.newPage();
    await page.goto(`${site.origin}/`);
    await page.waitForFunction(() => 'runSection' in globalThis);
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  test.each(Object.keys(SECTIONS))('%s', async (section) => {
    const results = (await page.evaluate(`runSection('${section}')`)) as CaseResult[];
    expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
    expect(results.length).toBeGreaterThan(0);
  });
});
