import { readdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'vite';
import { expect, onTestFinished, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { expectedCases } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { ISOLATION, StaticServer } from '../static-server.ts';
import { startChromium } from './chromium.ts';
import { ROOT } from './site.ts';

const APP = `
  import { LLM } from 'mamba2';
  globalThis.complete = async (model, options, prompt, maxTokens) => {
    const llm = await LLM.load(model, options);
    const { tokenIds } = await llm.complete(prompt, { temperature: 0, maxTokens });
    await llm.dispose();
    return tokenIds;
  };`;

/** An application that Vite has bundled. → the folder of what it made */
async function bundle(): Promise<string> {
  const root = await makeFolder({
    'index.html': '<script type="module" src="/main.js"></script>',
    'main.js': APP,
    'node_modules/none': '',
  });
  await symlink(ROOT, join(root, 'node_modules', 'mamba2'), 'dir');
  await build({ root, logLevel: 'error', worker: { format: 'es' } });
  return join(root, 'dist');
}

test('Vite bundles the library with its worker, and nothing of Node', async () => {
  const folder = join(await bundle(), 'assets');
  const scripts = (await readdir(folder)).filter((file) => file.endsWith('.js'));
  expect(scripts.some((file) => file.startsWith('rank-worker'))).toBe(true);
  for (const file of scripts) {
    expect(await readFile(join(folder, file), 'utf8'), file).not.toMatch(/(from|import\()\s*["'`]node:/);
  }
});

const executablePath = need('chromium');

test.runIf(executablePath)('what Vite has bundled runs, on two ranks', async () => {
  const site = await StaticServer.start({
    folders: { '/models/': `${ROOT}models/`, '/': await bundle() },
    headers: ISOLATION,
  });
  onTestFinished(() => site.close());
  const browser = await startChromium(executablePath ?? '');
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${site.origin}/index.html`);
  await page.waitForFunction(() => 'complete' in globalThis);
  const [{ prompt, greedy }] = await expectedCases();
  const parameters = JSON.stringify(['/models/tiny-dts', { tensorParallelSize: 2 }, prompt, greedy.length]);
  expect(await page.evaluate(`complete(...${parameters})`)).toEqual(greedy);
});
