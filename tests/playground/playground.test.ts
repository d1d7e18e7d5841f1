import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { findChromium, startChromium } from '../browser/chromium.ts';
import { ROOT } from '../browser/site.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { expectedCases } from '../cli/tiny-dts.ts';
import { startServer, type TestServer } from '../server/test-server.ts';
import { StaticServer } from '../static-server.ts';

const executable = findChromium();

/** Keeps the milliseconds between two frames, and those that a task of the page's thread took, if it took over 50. */
const WATCH_FRAMES = `
  globalThis.frames_ = { gaps: [], tasks: [] };
  let last;
  const frame = (now) => {
    if (last !== undefined) frames_.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => frames_.tasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: 'longtask', buffered: true });`;

interface WatchedFrames {
  readonly gaps: readonly number[];
  readonly tasks: readonly number[];
}

describe.runIf(executable !== undefined || process.env.CI !== undefined)('the playground', { timeout: 180_000 }, () => {
  let browser: Browser;
  let server: TestServer;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
    server = await startServer();
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  /** A page with what it complains about. */
  async function visit(url: string): Promise<{ page: Page; complaints: string[] }> {
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    onTestFinished(() => page.close());
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    await page.addInitScript(WATCH_FRAMES);
    await page.goto(url, { timeout: 120_000 });
    return { page, complaints };
  }

  async function loaded(page: Page): Promise<void> {
    await page.waitForFunction(() => document.getElementById('load-text')?.textContent === 'Ready.', null, {
      timeout: 120_000,
    });
  }

  /** Writes on from a prompt, greedily. → the answer */
  async function generate(page: Page, prompt: string, maxTokens: number): Promise<string> {
    await page.fill('#prompt', prompt);
    await page.fill('[name=temperature]', '0');
    await page.fill('[name=maxTokens]', `${maxTokens}`);
    await page.click('#generate');
    await page.waitForSelector('#generate:not([hidden])', { timeout: 120_000 });
    await page.waitForTimeout(50);
    return (await page.textContent('#answer-text')) ?? '';
  }

  test('loads the bundled model, generates what the library does, and goes on drawing meanwhile', async () => {
    const { page, complaints } = await visit(`${server.url}/playground`);
    await loaded(page);
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(true);
    const [{ prompt, greedy }] = await expectedCases();
    const expected = await server.llm.complete(prompt, { temperature: 0, maxTokens: greedy.length });
    expect(await generate(page, prompt, greedy.length)).toBe(expected.text);
    expect(await page.textContent('#fact-device')).toBe('WebAssembly');
    expect(await page.textContent('#device-note')).toMatch(/\w/);
    expect(await page.textContent('#fact-memory')).toMatch(/MB$/);
    expect(Number(await page.textContent('#fact-speed'))).toBeGreaterThan(1);
    expect(await page.textContent('#stored-list')).toContain('./models/tiny-dts/');
    const { gaps, tasks } = (await page.evaluate('frames_')) as WatchedFrames;
    expect(gaps.length).toBeGreaterThan(20);
    await page.waitForTimeout(1500);
    const idleGap = Math.max(...((await page.evaluate('frames_')) as WatchedFrames).gaps.slice(gaps.length));
    // Other work on the machine may take the browser's turn now and then, but no task of the page's own takes as long.
    const byLength = gaps.toSorted((a, b) => a - b);
    expect(byLength[Math.floor(0.95 * gaps.length)]).toBeLessThan(50 + 3 * idleGap);
    expect(Math.max(0, ...tasks)).toBeLessThan(150 + 3 * idleGap);
    expect(complaints).toEqual([]);
  });

  test('runs where there is no WebGPU, and says why', async () => {
    const { page } = await visit(`${server.url}/playground/#device=webgpu&dtype=int8`);
    await loaded(page);
    expect(await page.textContent('#fact-device')).toBe('WebAssembly');
    expect(await page.textContent('#device-note')).toMatch(/Not where it was asked for: .*GPU/i);
  });

  test('stops, and says what can not be loaded', async () => {
    const { page } = await visit(`${server.url}/playground/`);
    await loaded(page);
    await page.fill('[name=maxTokens]', '100000');
    await page.click('#generate');
    await page.waitForFunction(() => (document.getElementById('answer-text')?.textContent?.length ?? 0) > 20);
    await page.keyboard.press('Escape');
    await page.waitForSelector('#generate:not([hidden])');
    await page.fill('[name=source]', './nowhere/');
    await page.click('#load');
    await page.waitForSelector('#load-text.failure');
    expect(await page.textContent('#load-text')).toMatch(/nowhere.*config\.json/);
    expect(await page.isDisabled('#generate')).toBe(true);
  });

  test('is a folder for any static host', async () => {
    const folder = await makeFolder();
    await promisify(execFile)(process.execPath, [`${ROOT}scripts/build-playground.mjs`, folder], { cwd: ROOT });
    const host = await StaticServer.start({ folders: { '/some/where/': folder } });
    onTestFinished(() => host.close());
    const { page, complaints } = await visit(`${host.origin}/some/where/index.html`);
    await loaded(page);
    expect(await page.isVisible('#threads-note')).toBe(true);
    expect(await generate(page, 'export ', 5)).not.toBe('');
    expect(complaints).toEqual([]);
  });
});

describe('files of the playground', () => {
  test('come with ranges, tags and isolation; others do not come', async () => {
    const server = await startServer();
    onTestFinished(() => server.close());
    const url = `${server.url}/playground/models/tiny-dts/config.json`;
    const whole = await fetch(url);
    const text = await whole.text();
    const etag = whole.headers.get('etag') ?? '';
    const range = await fetch(url, { headers: { range: 'bytes=2-5' } });
    expect([range.status, await range.text()]).toEqual([206, text.slice(2, 6)]);
    expect(range.headers.get('content-range')).toBe(`bytes 2-5/${text.length}`);
    expect((await fetch(url, { headers: { range: 'bytes=99999-' } })).status).toBe(416);
    expect((await fetch(url, { headers: { 'if-none-match': etag } })).status).toBe(304);
    const head = await fetch(url, { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe(`${text.length}`);
    expect(whole.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
    for (const path of ['package.json', 'lib/../../package.json', 'lib/server/app.js', 'lib/%2e%2e/package.json']) {
      expect((await fetch(`${server.url}/playground/${path}`)).status, path).toBe(404);
    }
  });
});
