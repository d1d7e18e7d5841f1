import { readFile, stat } from 'node:fs/promises';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { expectedCases, TINY_DTS } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { few } from '../runs.ts';
import type { StaticServer } from '../static-server.ts';
import { startChromium } from './chromium.ts';
import type { PageActions } from './page.ts';
import { ROOT, startSite } from './site.ts';

const MODEL = './models/tiny-dts';
const executable = need('chromium');

// Pages and models load anew for each test, which takes long on a machine with other work.
describe.runIf(executable)('in Chromium', { timeout: 900_000 }, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await startChromium(executable ?? '');
  });

  afterAll(() => browser?.close());

  /** A fresh page of a fresh server. */
  async function visit(options: Parameters<typeof startSite>[0]): Promise<{ page: Page; site: StaticServer }> {
    const site = await startSite(options);
    onTestFinished(() => site.close());
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.goto(`${site.origin}/`);
    await page.waitForFunction(() => 'pageActions' in globalThis);
    expect(await page.evaluate(() => globalThis.crossOriginIsolated)).toBe(options.isolated);
    return { page, site };
  }

  /** Runs one of the page's actions. */
  async function act<Name extends keyof PageActions>(
    page: Page,
    name: Name,
    ...parameters: Parameters<PageActions[Name]>
  ): Promise<Awaited<ReturnType<PageActions[Name]>>> {
    const call = `pageActions.${name}(...${JSON.stringify(parameters)})`;
    return page.evaluate(call) as Promise<Awaited<ReturnType<PageActions[Name]>>>;
  }

  test.each(
    few(
      [
        { isolated: true, options: { tensorParallelSize: 2 }, workers: 2 },
        { isolated: false, options: { tensorParallelSize: 'auto' }, workers: 1 },
        { isolated: false, options: {}, workers: 1 },
        { isolated: true, options: { dtype: 'float32' }, workers: 1 },
      ] as const,
      2,
    ),
  )('the bundled model says what transformers says: %o', async ({ isolated, options, workers }) => {
    const { page } = await visit({ isolated });
    const cases = await expectedCases();
    const prompts = cases.map(({ prompt }) => prompt);
    const result = await act(page, 'greedy', MODEL, options, prompts, cases[0].greedy.length);
    expect(result.tokenIds).toEqual(cases.map(({ greedy }) => greedy));
    expect(result.workers).toBe(workers);
    expect(result.progress).toEqual(['initiate', 'download', 'done', 'progress', 'device', 'dtype', 'load', 'ready']);
  });

  test.each(few(['int4', 'bfloat16', 'float32', 'int8'] as const, 2))(
    'logits have the bits of those in Node: %s',
    async (dtype) => {
      const tokenIds = Array.from({ length: 40 }, (_, i) => (i * 997) % 4096);
      const { page } = await visit({ isolated: true });
      for (const tensorParallelSize of [1, 2]) {
        const options = { dtype, tensorParallelSize };
        const llm = await LLM.load(TINY_DTS, options);
        const expected = await llm.logits(tokenIds);
        await llm.dispose();
        expect(Float32Array.from(await act(page, 'logits', MODEL, options, tokenIds))).toEqual(expected);
      }
    },
  );

  test('weights are fetched once, by ranges, for any number of ranks', async () => {
    const { page, site } = await visit({ isolated: true });
    await act(page, 'greedy', MODEL, { tensorParallelSize: 2 }, ['a'], 1);
    const requests = site.requests.filter(({ method, path }) => method === 'GET' && path.endsWith('.safetensors'));
    const spans = requests.map(({ range }) =>
      /^bytes=(\d+)-(\d+)$/
        .exec(range ?? '')
        ?.slice(1)
        .map(Number),
    );
    expect(spans[0]?.[0]).toBe(0);
    const ends = spans.map((span) => (span?.[1] ?? 0) + 1);
    expect(spans.slice(1).map((span) => span?.[0])).toEqual(ends.slice(0, -1));
  });

  test('a server without ranges gives the weights in one download', async () => {
    const { page, site } = await visit({ isolated: true, ranges: false });
    const [{ prompt, greedy }] = await expectedCases();
    const result = await act(page, 'greedy', MODEL, { tensorParallelSize: 2 }, [prompt], greedy.length);
    expect(result.tokenIds).toEqual([greedy]);
    expect(site.requests.filter(({ method, path }) => method === 'GET' && path.endsWith('.safetensors'))).toHaveLength(
      1,
    );
  });

  test('library and model may come from another origin', async () => {
    const host = await startSite({
      isolated: true,
      headers: { 'access-control-allow-origin': '*', 'cross-origin-resource-policy': 'cross-origin' },
    });
    onTestFinished(() => host.close());
    const { page } = await visit({ isolated: true, libraryOrigin: host.origin });
    const [{ prompt, greedy }] = await expectedCases();
    const model = `${host.origin}/models/tiny-dts`;
    const result = await act(page, 'greedy', model, { tensorParallelSize: 2 }, [prompt], greedy.length);
    expect(result.tokenIds).toEqual([greedy]);
  });

  test('hub models are read by their URLs', async () => {
    const { page, site } = await visit({ isolated: false, folders: hubFolders('/org/name/resolve/v1/') });
    const [{ prompt, greedy }] = await expectedCases();
    const options = { endpoint: site.origin, token: 'secret' };
    const result = await act(page, 'greedy', 'org/name@v1', options, [prompt], greedy.length);
    expect(result.tokenIds).toEqual([greedy]);
    const own = site.requests.filter(({ path }) => path.startsWith('/org/'));
    expect(new Set(own.map(({ authorization }) => authorization))).toEqual(new Set(['Bearer secret']));
  });

  test.each([
    ['./nowhere', {}, 'model_not_found', /\/nowhere\/' holds no config\.json/],
    ['tiny-dts', {}, 'model_not_found', /not a URL, and not of the form org\/name/],
    [MODEL, { tensorParallelSize: 2 }, 'sharding', /Cross-Origin-Opener-Policy.*Cross-Origin-Embedder-Policy/],
    ['http://127.0.0.1:9/m', {}, 'download_failed', /could not be fetched.*CORS/],
  ] as const)("what can't be loaded is refused: %s %o", async (model, options, code, message) => {
    const { page } = await visit({ isolated: false });
    const failure = await act(page, 'failure', model, options);
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test("a worker's script that can't be loaded ends the load", async () => {
    const broken = new Map([
      ['/dist/engine/ranks/rank-worker.js', { content: 'import "./none.js"', contentType: 'text/javascript' }],
    ]);
    const { page } = await visit({ isolated: false, extraPages: broken });
    const failure = await act(page, 'failure', MODEL, {});
    expect(failure).toMatchObject({
      code: 'rank_failed',
      message: expect.stringMatching(
        /can't be started: .* from 'http.*rank-worker\.js'\..*'mamba2\/rank-worker'.*bundlers\.md/,
      ),
    });
  });

  test('scripts of workers are taken from where they are said to be, and an error says where they were not', async () => {
    const moved = new Map([
      ['/moved/rank.js', { content: 'import "/dist/engine/ranks/rank-worker.js"', contentType: 'text/javascript' }],
      ['/dist/engine/ranks/rank-thread.js', await withoutScript('engine/ranks/rank-thread.js', 'rank-worker.js')],
      [
        '/dist/checkpoint/stored/files-thread.js',
        await withoutScript('checkpoint/stored/files-thread.js', 'files-worker.js'),
      ],
    ]);
    const { page } = await visit({ isolated: true, extraPages: moved });
    const files = '/dist/checkpoint/stored/files-worker.js';
    const [{ prompt, greedy }] = await expectedCases();
    const workers = { rank: './moved/rank.js', files };
    const result = await act(page, 'greedy', MODEL, { tensorParallelSize: 2, workers }, [prompt], greedy.length);
    expect(result.tokenIds).toEqual([greedy]);
    const failure = (options: object) => act(page, 'failure', MODEL, options);
    const rank = await failure({ workers: { files, rank: '/nowhere.js' } });
    expect(rank.message).toMatch(/Rank 0 can't be started: .* from 'http:.*\/nowhere\.js'/);
    const { message } = await failure({});
    expect(message).toMatch(/The worker that stores .* can't be started: .* 'mamba2\/files-worker'/);
  });

  test.each(few([true, false]))(
    'an aborted load ends before its weights are there, ranges given: %s',
    async (ranges) => {
      const { page } = await visit({ isolated: true, ranges, pieceBytes: 20_000 });
      const { reason, loadedBytes } = await act(page, 'abortedLoad', MODEL, 1_000_000);
      expect(reason).toBe('enough');
      expect(loadedBytes).toBeGreaterThan(1_000_000);
      expect(loadedBytes).toBeLessThan((await stat(`${TINY_DTS}/model.safetensors`)).size);
    },
  );

  test.each(
    few([
      { ranks: 2, victim: 1 },
      { ranks: 2, victim: 0 },
      { ranks: 1, victim: 0 },
    ]),
  )('a rank whose worker is ended ends the request: %o', async ({ ranks, victim }) => {
    const { page } = await visit({ isolated: true });
    const failure = await act(page, 'killedRank', MODEL, ranks, victim);
    expect(failure).toMatchObject({
      code: 'rank_failed',
      message: expect.stringContaining(`Rank ${victim} was ended`),
    });
  });

  test('the page stays responsive within a step', async () => {
    const { page } = await visit({ isolated: false });
    const { milliseconds, frames, frameGap, tickGap } = await act(page, 'pageDuringStep', MODEL, 2048);
    // A step that held the page would leave one gap of its whole length, on whatever machine.
    expect(frames).toBeGreaterThan(3);
    expect(frameGap).toBeLessThan(milliseconds / 2);
    expect(tickGap).toBeLessThan(milliseconds / 2);
  });
});

function hubFolders(path: string): Record<string, string> {
  return { '/dist/': `${ROOT}dist/`, '/node_modules/': `${ROOT}node_modules/`, [path]: `${TINY_DTS}/` };
}

/** A file of the build that looks for a script where there is none. */
async function withoutScript(file: string, script: string): Promise<{ content: string; contentType: string }> {
  const text = await readFile(`${ROOT}dist/${file}`, 'utf8');
  return { content: text.replaceAll(`./${script}`, `./none/${script}`), contentType: 'text/javascript' };
}
