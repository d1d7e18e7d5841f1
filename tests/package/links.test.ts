import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const PAGES = [
  ...['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'examples/README.md'],
  ...['bench/README.md', 'training/README.md', 'models/tiny-dts/README.md'],
].concat(
  readdirSync(join(ROOT, 'docs'), { encoding: 'utf8' }).flatMap((name) =>
    name.endsWith('.md') ? [`docs/${name}`] : [],
  ),
);

interface Link {
  /** From the root. */
  readonly path: string;
  readonly heading: string | undefined;
}

/** Links of a page to files and headings of the project. */
function linksOf(page: string, text: string): Link[] {
  const withoutCode = text.replace(/^```.*?^```/gms, '');
  const targets = [...withoutCode.matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(([, a, b]) => a ?? b);
  return targets
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path, heading] = target.split('#');
      return { path: path === '' ? page : normalize(join(dirname(page), path)), heading };
    });
}

/** Headings as GitHub and npm name them in links. */
function headingsOf(text: string): string[] {
  return [...text.replace(/^```.*?^```/gms, '').matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

describe.each(PAGES)('%s', (page) => {
  test('links to what is there, and to headings that are', async () => {
    const broken: string[] = [];
    for (const { path, heading } of linksOf(page, await readFile(join(ROOT, page), 'utf8'))) {
      if (!existsSync(join(ROOT, path))) broken.push(path);
      else if (heading !== undefined && !headingsOf(await readFile(join(ROOT, path), 'utf8')).includes(heading)) {
        broken.push(`${path}#${heading}`);
      }
    }
    expect(broken).toEqual([]);
  });
});

test('the tarball has every page, and what pages link to', { timeout: 120_000 }, async () => {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    maxBuffer: 2 ** 24,
    shell: process.platform === 'win32',
  });
  const packed: string[] = [Object.values(JSON.parse(stdout))].flat(1).flatMap((each) => {
    const { files } = each as { readonly files: readonly { readonly path: string }[] };
    return files.map(({ path }) => path);
  });
  const links = await Promise.all(PAGES.map(async (page) => linksOf(page, await readFile(join(ROOT, page), 'utf8'))));
  const wanted = [...PAGES, ...links.flat().map(({ path }) => path)];
  const isPacked = (path: string) => packed.some((file) => file === path || file.startsWith(path.replace(/\/?$/, '/')));
  expect([...new Set(wanted)].filter((path) => !isPacked(path))).toEqual([]);
  expect(packed.filter((path) => path.endsWith('.map'))).toEqual([]);
});
