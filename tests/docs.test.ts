import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as errors from '../src/errors.ts';

const library = readFileSync(new URL('../docs/library.md', import.meta.url), 'utf8');

/** Files of the project's own folders, from the root. */
const files = ['src', 'kernels', 'scripts', 'tests'].flatMap((folder) =>
  readdirSync(new URL(`../${folder}/`, import.meta.url), { recursive: true, encoding: 'utf8' }).map(
    (file) => `${folder}/${file.replaceAll('\\', '/')}`,
  ),
);
const sources = files
  .filter((file) => /^src\/.*\.ts$/.test(file))
  .map((file) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'))
  .join('\n');

/** The first cells of the tables' rows, as far as they are code. */
function firstCells(text: string): string[] {
  return [...text.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
}

describe('docs/library.md', () => {
  test('lists every error class with its code', () => {
    const listed = [...library.matchAll(/^\| `(\w+Error)` \| `(\w+)` \|/gm)].map(([, name, code]) => [name, code]);
    const classes = Object.values(errors).filter((value) => value !== errors.Mamba2Error);
    const existing = classes.map((ErrorClass) => {
      const { name, code } = Reflect.construct(ErrorClass, ['a problem']) as errors.Mamba2Error;
      return [name, code];
    });
    expect(listed.toSorted()).toEqual(existing.toSorted());
  });

  test("lists a chunk's fields", () => {
    const interfaces = [...sources.matchAll(/interface (TokenLogprob|OutputToken|GenerationChunk)\b.*?\n\}/gs)];
    const declared = interfaces.flatMap(([text]) => [...text.matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name));
    const listed = firstCells(library.slice(0, library.indexOf('## Errors')));
    expect(listed.toSorted()).toEqual(declared.toSorted());
  });
});

test('docs/glossary.md names what is in the code', () => {
  const glossary = readFileSync(new URL('../docs/glossary.md', import.meta.url), 'utf8');
  const words = new Set(sources.match(/\w+/g));
  const named = [...glossary.matchAll(/^\|.*\|(.*)\|$/gm)].flatMap(([, cell]) => cell.match(/(?<=`)\w+(?=`)/g) ?? []);
  expect(named.length).toBeGreaterThan(30);
  expect(named.filter((name) => !words.has(name))).toEqual([]);
});

const ROOT = new URL('../', import.meta.url);
const pages = readdirSync(new URL('docs/', ROOT), 'utf8').flatMap((file) =>
  file.endsWith('.md') ? [`docs/${file}`] : [],
);

test.each(['README.md', 'CONTRIBUTING.md', ...pages])('%s names files that exist', (page) => {
  const text = readFileSync(new URL(page, ROOT), 'utf8').replace(/^```.*?^```/gms, '');
  const named = [...text.matchAll(/`((?:[\w-]+\/)*[\w-]+\.(?:ts|mjs|wgsl))`/g)].map(([, path]) => path);
  expect(named.filter((path) => !files.some((file) => `/${file}`.endsWith(`/${path}`)))).toEqual([]);
});

test.each(['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...pages])(
  'lines of %s end at 120 columns, tables aside',
  (page) => {
    const lines = readFileSync(new URL(page, ROOT), 'utf8').split('\n');
    expect(lines.filter((line) => [...line].length > 120 && !line.trimStart().startsWith('|'))).toEqual([]);
  },
);

// The site's builder takes such a line for the beginning of an element, even inside a piece of code.
test.each(pages)('no line of %s begins like an element', (page) => {
  const text = readFileSync(new URL(page, ROOT), 'utf8').replace(/^```.*?^```/gms, '');
  expect(text.match(/^ *<[a-z].*/gm)).toBeNull();
});
