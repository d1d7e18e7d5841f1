import { cp, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'vite';
import { expect, onTestFinished, test } from 'vitest';
import { startChromium } from '../browser/chromium.ts';
import { ROOT } from '../browser/site.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { need } from '../needs/needs.ts';
import { ISOLATION, StaticServer } from '../static-server.ts';

/** @returns the folder of what Vite made of the example */
async function bundle(): Promise<string> {
  const root = await makeFolder({ 'node_modules/none': '' });
  await cp(`${ROOT}examples/vite-page`, root, { recursive: true });
  await symlink(ROOT, join(root, 'node_modules', 'mamba2'), 'dir');
  await build({ root, logLevel: 'error' });
  return join(root, 'dist');
}

const executablePath = need('chromium');

test.runIf(executablePath)('vite-page/ loads a model and generates', async () => {
  const site = await StaticServer.start({
    folders: { '/models/': `${ROOT}models/`, '/': await bundle() },
    headers: ISOLATION,
  });
  onTestFinished(() => site.close());
  const browser = await startChromium(executablePath ?? '');
  onTestFinished(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${site.origin}/index.html`);
  await page.fill('[name=model]', '/models/tiny-dts/');
  await page.fill('[name=prompt]', 'export interface User {');
  await page.click('button');
  await page.waitForFunction(() => document.querySelector('#status')?.textContent === 'Done.');
  expect(await page.textContent('#answer')).toMatch(/^export interface User \{\n[\s\S]*\w+\??: \w+;/);
});
