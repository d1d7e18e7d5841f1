import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { findChromium, startChromium } from '../../tests/browser/chromium.ts';
import { ISOLATION, StaticServer } from '../../tests/static-server.ts';
import { MODELS } from './models.ts';
import type { Contender, Rates, Workload } from './workload.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const WLLAMA = join(ROOT, 'bench', 'node_modules', '@wllama', 'wllama');
const IMPORTS = {
  mamba2: '/dist/index.js',
  '@huggingface/tokenizers': '/packages/tokenizers/dist/tokenizers.mjs',
};
const HTML = `<!doctype html><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>
<script type="module" src="/page.js"></script>`;

/** A browser and a site with both libraries and all models, cross-origin isolated so that threads can be used. */
export class Contest {
  readonly #chromium: string;
  readonly #site: StaticServer;

  private constructor(chromium: string, site: StaticServer) {
    this.#chromium = chromium;
    this.#site = site;
  }

  static async open(): Promise<Contest> {
    const chromium = findChromium();
    if (chromium === undefined)
      throw new Error('There is no Chromium. On Debian or Ubuntu: apt-get install -y chromium');
    if (!existsSync(join(ROOT, 'dist')))
      throw new Error("There is no dist/. Run 'npm ci' in the project's folder first.");
    if (!existsSync(WLLAMA)) throw new Error("There is no wllama. Run 'npm install --ignore-scripts' in bench/ first.");
    const page = await readFile(join(import.meta.dirname, 'page.ts'), 'utf8');
    const script = (content: string) => ({ content, contentType: 'text/javascript' });
    const site = await StaticServer.start({
      headers: ISOLATION,
      folders: {
        '/dist/': join(ROOT, 'dist'),
        '/packages/': join(ROOT, 'node_modules', '@huggingface'),
        '/wllama/': join(WLLAMA, 'esm'),
        '/models/': MODELS,
      },
      pages: new Map([
        ['/', { content: HTML, contentType: 'text/html' }],
        ['/bench/browser/page.js', script(stripTypeScriptTypes(page))],
        ['/page.js', script("import '/bench/browser/page.js';")],
        // What page.ts imports, so that it is checked against the sources and runs on what is built.
        ['/src/index.ts', script("export * from 'mamba2';")],
      ]),
    });
    return new Contest(chromium, site);
  }

  /** One run in a browser of its own. */
  async measure({ library, dtype }: Contender, workload: Workload): Promise<Rates> {
    const browser = await startChromium(this.#chromium);
    try {
      const page = await browser.newPage();
      await page.goto(`${this.#site.origin}/`);
      await page.waitForFunction(() => 'measurements' in globalThis);
      const parameters = JSON.stringify([dtype, workload]);
      return await (page.evaluate(`measurements.${library}(...${parameters})`) as Promise<Rates>);
    } finally {
      await browser.close();
    }
  }

  /** Name and version of the browser. */
  async browserName(): Promise<string> {
    const browser = await startChromium(this.#chromium);
    const version = browser.version();
    await browser.close();
    return `Chromium ${version}`;
  }

  /** Version of wllama's package. */
  async wllamaVersion(): Promise<string> {
    return JSON.parse(await readFile(join(WLLAMA, 'package.json'), 'utf8')).version;
  }

  async close(): Promise<void> {
    await this.#site.close();
  }
}
