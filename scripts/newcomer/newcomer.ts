// Packs the library, installs the tarball into fresh projects of each kind, builds them, runs them, and prints a table.
// npm run newcomer -- [words]: only kinds whose names have one of the words.
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { findChromium, startChromium } from '../../tests/browser/chromium.ts';
import { ISOLATION, StaticServer } from '../../tests/static-server.ts';
import { bundlerKinds } from './bundler-kinds.ts';
import type { Bench, Kind } from './kind.ts';
import { nodeKinds } from './node-kinds.ts';
import { Project } from './project.ts';
import { runtimeKinds } from './runtime-kinds.ts';
import { typescriptKinds } from './typescript-kinds.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** A page has to be there, and its model to answer, on a machine with much other work. */
const PAGE_MILLISECONDS = 180_000;

interface Result {
  readonly kind: string;
  readonly seconds: number;
  readonly text?: string;
  readonly problem?: string;
}

class Newcomer implements Bench {
  readonly #tarball: string;
  readonly #projects: Project[] = [];
  #browser: Browser | undefined;

  constructor(tarball: string) {
    this.#tarball = tarball;
  }

  async project(manifest: Readonly<Record<string, unknown>>, ...packages: readonly string[]): Promise<Project> {
    const project = await Project.create(manifest);
    this.#projects.push(project);
    await project.install(this.#tarball, ...packages);
    return project;
  }

  async inBrowser(folder: string, page = 'index.html'): Promise<string> {
    const path = findChromium();
    if (path === undefined) throw new Error('No Chromium was found (on Debian: apt-get install chromium).');
    this.#browser ??= await startChromium(path);
    const models = join(ROOT, 'models');
    const site = await StaticServer.start({ folders: { '/models/': models, '/': folder }, headers: ISOLATION });
    const context = await this.#browser.newContext();
    context.setDefaultTimeout(PAGE_MILLISECONDS);
    try {
      const tab = await context.newPage();
      const complaints: string[] = [];
      tab.on('pageerror', (error) => complaints.push(error.message));
      tab.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
      await tab.goto(`${site.origin}/${page}`);
      try {
        await tab.waitForFunction(() => 'complete' in globalThis);
        return (await tab.evaluate('complete()')) as string;
      } catch (error) {
        throw new Error([error instanceof Error ? error.message : error, ...complaints].join('\n'));
      }
    } finally {
      await context.close();
      await site.close();
    }
  }

  async try(kind: Kind): Promise<Result> {
    const begin = performance.now();
    const seconds = () => (performance.now() - begin) / 1000;
    try {
      const text = await kind.run(this);
      return { kind: kind.name, seconds: seconds(), text };
    } catch (error) {
      return { kind: kind.name, seconds: seconds(), problem: error instanceof Error ? error.message : String(error) };
    } finally {
      for (const project of this.#projects.splice(0)) await project.remove();
    }
  }

  async close(): Promise<void> {
    await this.#browser?.close();
  }
}

async function main(words: readonly string[]): Promise<number> {
  const kinds = [...nodeKinds, ...typescriptKinds, ...bundlerKinds, ...runtimeKinds].filter(
    ({ name }) => words.length === 0 || words.some((word) => name.toLowerCase().includes(word.toLowerCase())),
  );
  const packed = await mkdtemp(join(tmpdir(), 'newcomer-pack-'));
  const newcomer = new Newcomer(await pack(packed));
  const results: Result[] = [];
  try {
    for (const kind of kinds) {
      const result = await newcomer.try(kind);
      console.log(line(result, results[0] ?? result));
      results.push(result);
    }
  } finally {
    await newcomer.close();
    await rm(packed, { recursive: true });
  }
  const failed = results.filter((result) => !isRight(result, results[0]));
  for (const { kind, problem } of failed) console.error(`\n${kind}: ${problem ?? 'the model says something else.'}`);
  console.log(`\n${results.length - failed.length} passed, ${failed.length} failed`);
  return failed.length === 0 ? 0 : 1;
}

/** → the tarball, of what is built */
async function pack(folder: string): Promise<string> {
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
  });
  const [tarball] = await readdir(folder);
  return join(folder, tarball);
}

/** All have to say what the first kind does: sampling is greedy, and the numbers have the same bits everywhere. */
function isRight({ text }: Result, first: Result): boolean {
  return text !== undefined && text !== '' && text === first.text;
}

function line(result: Result, first: Result): string {
  const outcome = isRight(result, first) ? 'passed' : 'FAILED';
  return `${outcome}  ${result.kind.padEnd(40)} ${result.seconds.toFixed(0).padStart(4)} s`;
}

process.exitCode = await main(process.argv.slice(2));
