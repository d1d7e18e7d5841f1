import { expect, onTestFinished, test } from 'vitest';
import { expectedCases } from '../cli/tiny-dts.ts';
import { need } from '../needs/needs.ts';
import { ISOLATION, StaticServer } from '../static-server.ts';
import { bundle } from './bundle.ts';
import { startChromium } from './chromium.ts';
import { ROOT } from './site.ts';

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
