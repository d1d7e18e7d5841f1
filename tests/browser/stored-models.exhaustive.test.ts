import { copyFile, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { tinyGguf, tinySplit } from '../checkpoint/gguf/tiny-gguf.ts';
import { expectedCases, TINY_DTS } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { largestDifference } from '../numbers.ts';
import type { StaticServer } from '../static-server.ts';
import { startChromium } from './chromium.ts';
import type { PageActions } from './page.ts';
import { ROOT, startSite } from './site.ts';

const MODEL = './m';
const WEIGHTS = '/m/model.safetensors';
const executable = need('chromium');

// Pages and models load anew for each test, which takes long on a machine with other work.
describe.runIf(executable)('models in Chromium', { timeout: 900_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
  });

  afterAll(() => browser?.close());

  interface Rig {
    readonly site: StaticServer;
    readonly context: BrowserContext;
    /** Of a copy of the bundled model. */
    readonly folder: string;
    /** A tab. Tabs of one context share what is stored. */
    tab(): Promise<Page>;
    /** Requests for content of the model since it was asked last. */
    fetched(): { path: string; range: string | undefined }[];
  }

  async function rig(options: { isolated?: boolean; pieceBytes?: number } = {}): Promise<Rig> {
    const folder = await makeFolder();
    for (const file of ['config.json', 'generation_config.json', 'tokenizer.json', 'model.safetensors']) {
      await copyFile(join(TINY_DTS, file), join(folder, file));
    }
    const folders = { '/dist/': `${ROOT}dist/`, '/node_modules/': `${ROOT}node_modules/`, '/m/': folder };
    const site = await startSite({ isolated: false, folders, ...options });
    onTestFinished(() => site.close());
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const tab = async () => {
      const page = await context.newPage();
      await open(page, site);
      return page;
    };
    const fetched = () =>
      site.requests.splice(0).filter(({ method, path }) => method === 'GET' && path.startsWith('/m/'));
    return { site, context, folder, tab, fetched };
  }

  async function act<Name extends keyof PageActions>(
    page: Page,
    name: Name,
    ...parameters: Parameters<PageActions[Name]>
  ): Promise<Awaited<ReturnType<PageActions[Name]>>> {
    const call = `pageActions.${name}(...${JSON.stringify(parameters)})`;
    return page.evaluate(call) as Promise<Awaited<ReturnType<PageActions[Name]>>>;
  }

  /** Loads the model and compares what it says. */
  async function check(page: Page, options: Parameters<PageActions['greedy']>[1] = {}): Promise<void> {
    const [{ prompt, greedy }] = await expectedCases();
    expect((await act(page, 'greedy', MODEL, options, [prompt], greedy.length)).tokenIds).toEqual([greedy]);
  }

  test('the second load fetches nothing, with any number of ranks', async () => {
    const { tab, fetched, site } = await rig({ isolated: true });
    await check(await tab());
    expect(fetched().map(({ path }) => path)).toContain(WEIGHTS);
    await check(await tab(), { tensorParallelSize: 2 });
    expect(fetched()).toEqual([]);
    const page = await tab();
    site.requests.length = 0;
    await check(page, { localFilesOnly: true });
    expect(site.requests.filter(({ path }) => path.startsWith('/m/'))).toEqual([]);
  });

  test('a GGUF file is a model of its own, next to others of its folder', async () => {
    const { tab, fetched, folder, site } = await rig({ isolated: true });
    await writeFile(join(folder, 'a-Q8_0.gguf'), tinyGguf());
    const [part1, part2] = tinySplit();
    await writeFile(join(folder, 'b-00001-of-00002.gguf'), part1);
    await writeFile(join(folder, 'b-00002-of-00002.gguf'), part2);
    const load = async (file: string, tensorParallelSize: number) =>
      act(await tab(), 'logits', `${MODEL}/${file}`, { dtype: 'float32', tensorParallelSize }, [1, 2, 3]);
    const logits = await load('a-Q8_0.gguf', 1);
    expect(fetched().map(({ path }) => path)).toEqual(['/m/a-Q8_0.gguf']);
    expect(largestDifference(await load('a-Q8_0.gguf', 2), logits)).toBeLessThan(1e-4);
    expect(fetched()).toEqual([]);
    expect(await load('b-00001-of-00002.gguf', 1)).toEqual(logits);
    expect(new Set(fetched().map(({ path }) => path))).toEqual(
      new Set(['/m/b-00001-of-00002.gguf', '/m/b-00002-of-00002.gguf']),
    );
    const page = await tab();
    const { before, found, after } = await act(page, 'storedAndDeleted', `${site.origin}/m/a-Q8_0.gguf`);
    expect(before.map(({ location }) => location).sort()).toEqual([
      `${site.origin}/m/a-Q8_0.gguf`,
      `${site.origin}/m/b-00001-of-00002.gguf`,
    ]);
    expect({ found, left: after.length }).toEqual({ found: true, left: 1 });
  });

  test('a page continues from the states that another has left in the private file system', async () => {
    const { tab } = await rig();
    const [{ prompt }] = await expectedCases();
    const first = await act(await tab(), 'shared', MODEL, prompt);
    expect(first.computed).toBeGreaterThan(0);
    expect(await act(await tab(), 'shared', MODEL, prompt)).toEqual({ text: first.text, computed: 0 });
  });

  test('nothing is stored where that is not wanted', async () => {
    const { tab, fetched } = await rig();
    await check(await tab(), { useBrowserStorage: false });
    fetched();
    await check(await tab(), { useBrowserStorage: false });
    expect(fetched().length).toBeGreaterThan(0);
    expect((await act(await tab(), 'storedAndDeleted', MODEL)).before).toEqual([]);
  });

  test('a load continues where an aborted one ended', async () => {
    const { tab, fetched, folder } = await rig({ pieceBytes: 100_000 });
    const { size } = await stat(join(folder, 'model.safetensors'));
    const { reason } = await act(await tab(), 'abortedLoad', MODEL, size / 3);
    expect(reason).toBe('enough');
    const page = await tab();
    const [model] = (await act(page, 'storedAndDeleted', 'none')).before;
    expect(model.storedBytes).toBeLessThan(model.totalBytes);
    fetched();
    await check(page);
    const own = fetched().filter(({ path }) => path === WEIGHTS);
    const asked = own.reduce((sum, { range }) => sum + lengthOf(range), 0);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(size);
  });

  test('a file that has changed is fetched again, others are not', async () => {
    const { tab, fetched, folder } = await rig();
    await check(await tab());
    fetched();
    const path = join(folder, 'generation_config.json');
    await writeFile(path, (await readFile(path, 'utf8')).replace('{', '{ '));
    await check(await tab());
    expect(fetched().map((request) => request.path)).toEqual(['/m/generation_config.json']);
    await utimes(join(folder, 'model.safetensors'), 0, 0);
    await check(await tab());
    expect(new Set(fetched().map((request) => request.path))).toEqual(new Set([WEIGHTS]));
  });

  test('what has no room is refused before its weights are fetched', async () => {
    const { context, site, fetched } = await rig();
    const page = await context.newPage();
    // What Chromium says of its quota is rounded up, whatever it is made to allow.
    await inFilesWorker(page, 'StorageManager.prototype.estimate = async () => ({ usage: 0, quota: 5_000_000 });');
    await open(page, site);
    const failure = await act(page, 'failure', MODEL, {});
    const message = expect.stringMatching(/needs 15 MB, but the browser can store only 5.0 MB more/);
    expect(failure).toMatchObject({ code: 'storage_quota', message });
    expect(fetched().map(({ path }) => path)).not.toContain(WEIGHTS);
  });

  test('what finds no room after all says so', async () => {
    const { tab, site, context } = await rig();
    const page = await tab();
    const session = await context.newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: site.origin, quotaSize: 5_000_000 });
    expect(await act(page, 'failure', MODEL, {})).toMatchObject({ code: 'storage_quota' });
  });

  test('tabs that load at once fetch once', async () => {
    const { tab, fetched, folder } = await rig({ pieceBytes: 500_000 });
    const { size } = await stat(join(folder, 'model.safetensors'));
    await Promise.all([await tab(), await tab()].map((page) => check(page)));
    const own = fetched().filter(({ path }) => path === WEIGHTS);
    expect(own.reduce((sum, { range }) => sum + lengthOf(range), 0)).toBe(size);
  });

  test('a tab that is closed in the middle leaves the rest to another', async () => {
    const { tab, fetched } = await rig({ pieceBytes: 50_000 });
    const [first, second] = [await tab(), await tab()];
    act(first, 'abortedLoad', MODEL, 1e12).catch(() => {});
    await expect.poll(() => fetched().some(({ path }) => path === WEIGHTS), { timeout: 20_000 }).toBe(true);
    const loaded = check(second);
    await first.close();
    await loaded;
  });

  test('models are listed and deleted', async () => {
    const { tab, fetched, site } = await rig();
    await check(await tab());
    const { before, found, after } = await act(await tab(), 'storedAndDeleted', MODEL);
    expect(before).toMatchObject([{ name: MODEL, location: `${site.origin}/m/` }]);
    expect(before[0].storedBytes).toBe(before[0].totalBytes);
    expect(found).toBe(true);
    expect(after).toEqual([]);
    fetched();
    await check(await tab());
    expect(fetched().map(({ path }) => path)).toContain(WEIGHTS);
  });

  test.each(['getDirectory', 'createSyncAccessHandle'])('a browser without %s fetches as it can', async (missing) => {
    const { context, site } = await rig();
    const page = await context.newPage();
    if (missing === 'getDirectory') await page.addInitScript('delete StorageManager.prototype.getDirectory');
    else {
      // As in private windows of some browsers: what is there fails.
      const refusal = 'Promise.reject(new DOMException("no", "SecurityError"))';
      await inFilesWorker(page, `StorageManager.prototype.getDirectory = () => ${refusal};`);
    }
    await open(page, site);
    await check(page);
  });
});

/** Runs a script in the worker that stores models, before its own. */
async function inFilesWorker(page: Page, script: string): Promise<void> {
  await page.route('**/files-worker.js', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${script}${await response.text()}` });
  });
}

async function open(page: Page, site: StaticServer): Promise<void> {
  await page.goto(`${site.origin}/`);
  await page.waitForFunction(() => 'pageActions' in globalThis);
}

function lengthOf(range: string | undefined): number {
  const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  return Number(end) - Number(begin) + 1;
}
