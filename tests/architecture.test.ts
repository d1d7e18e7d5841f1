import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/**
 * Folders and files of src/, lowest first: a file imports from its own floor and those below. The longest entry that
 * a path begins with is its floor, so a folder's sub-folders may be floors of their own.
 */
const FLOORS = [
  // What a browser loads from the server stands alone.
  'page/',
  'errors.ts',
  'version.generated.ts',
  'version.generated.ts',
  'util/',
  'tensor/',
  'distributed/',
  'distributed/mpi/',
  'distributed/tcp/',
  'checkpoint/json/',
  'checkpoint/net/',
  'checkpoint/files/',
  'checkpoint/safetensors/',
  'checkpoint/gguf/types/',
  'checkpoint/gguf/',
  'checkpoint/hub/',
  'checkpoint/stored/',
  'checkpoint/quantization/decode/',
  'checkpoint/quantization/weights/',
  'checkpoint/quantization/methods/',
  'checkpoint/quantization/',
  'checkpoint/',
  'text/',
  'grammar/forms/',
  'grammar/',
  'backends/contract/',
  'backends/reference/',
  'backends/cpu/kernels/',
  'backends/cpu/memory/',
  'backends/cpu/ops/',
  'backends/cpu/',
  'backends/webgpu/shaders/',
  'backends/webgpu/device/',
  'backends/webgpu/launch/',
  'backends/webgpu/graph/',
  'backends/webgpu/linear/',
  'backends/webgpu/ops/',
  'backends/webgpu/',
  'backends/cuda/kernels/',
  'backends/cuda/block-formats.ts',
  'backends/cuda/launch/',
  'backends/cuda/device/',
  'backends/cuda/nccl/',
  'backends/cuda/ops/',
  'backends/cuda/',
  'layers/parameters/',
  'layers/linear/',
  'layers/norm/',
  'layers/feed-forward/',
  'layers/mamba/',
  'layers/attention/',
  'layers/',
  'models/',
  'engine/run/',
  'engine/weights/',
  'engine/ranks/',
  'engine/pipeline/',
  'engine/sample/',
  'engine/state/',
  'engine/speculate/',
  'engine/request/',
  'engine/chat/',
  'engine/schedule/',
  'engine/store/homes/',
  'engine/store/',
  'engine/load/',
  'engine/session/',
  'engine/',
  // index.ts, ops.ts and what else lies in no folder.
  '',
  'bench/',
  'playground/',
  'adapters/',
  'server/wire/',
  'server/anthropic/wire/',
  'server/ollama/wire/',
  'server/responses/wire/',
  'server/request/',
  'server/answer/',
  'server/routes/route.ts',
  'server/anthropic/',
  'server/ollama/',
  'server/responses/',
  'server/pages/',
  'server/routes/',
  'server/',
  'cli/terminal/',
  'cli/options/',
  'cli/reports/',
  'cli/conversion/',
  'cli/commands/',
  'cli/',
];

function floorOf(path: string): number {
  const own = FLOORS.filter((floor) => path.startsWith(floor)).sort((a, b) => b.length - a.length)[0];
  const isKnown = own !== '' || !path.includes('/');
  expect(isKnown, `${path} lies on no known floor`).toBe(true);
  return FLOORS.indexOf(own);
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => path.endsWith('.ts') && !path.endsWith('.generated.ts'));

const texts = new Map(files.map((path) => [path, readFileSync(join(src, path), 'utf8')]));

/** Files of src/ that each file imports: types too, and those that it loads on need. */
const imports = new Map(
  [...texts].map(([path, text]) => {
    const found = [...text.matchAll(/(?:from|import) '(\.[^']+)'|import\('(\.[^']+)'\)/g)];
    return [path, found.map((match) => join(dirname(path), match[1] ?? match[2]))] as const;
  }),
);

/** Longer files hold more than one subject, or one that would be clearer as two. */
const LONGEST_FILE = 600;
/** More files than one sees at a glance. */
const MOST_FILES = 20;

/** Files that import each other, directly or through others. */
function circles(): string[][] {
  const reachable = new Map(files.map((path) => [path, reachedBy(path)]));
  const isTied = (a: string, b: string) => reachable.get(a)?.has(b) && reachable.get(b)?.has(a);
  const found = files.filter((path) => isTied(path, path)).map((path) => files.filter((other) => isTied(path, other)));
  return [...new Map(found.map((circle) => [circle.toSorted().join(), circle.toSorted()])).values()];
}

function reachedBy(path: string, found = new Set<string>()): Set<string> {
  for (const target of imports.get(path) ?? []) {
    if (found.has(target)) continue;
    found.add(target);
    reachedBy(target, found);
  }
  return found;
}

describe('architecture', () => {
  test.each(files)('%s imports only from its floor or below', (path) => {
    const own = floorOf(path);
    for (const target of imports.get(path) ?? []) {
      expect(floorOf(target), `${path} imports ${target}`).toBeLessThanOrEqual(own);
    }
  });

  test('no files import each other in a circle', () => {
    expect(circles()).toEqual([]);
  });

  test('a folder is seen at a glance', () => {
    const counts = Map.groupBy(files, (path) => dirname(path));
    const crowded = [...counts].filter(([, { length }]) => length > MOST_FILES);
    expect(crowded.map(([folder, { length }]) => `${folder}: ${length} files`)).toEqual([]);
  });

  test.each(files)('%s has one subject, as far as its length tells', (path) => {
    expect(texts.get(path)?.split('\n').length).toBeLessThanOrEqual(LONGEST_FILE);
  });
});

/** What a module imports when it is loaded, all the way down. */
function loadedWith(entry: string, found = new Set<string>()): Set<string> {
  if (found.has(entry)) return found;
  found.add(entry);
  const text = readFileSync(join(src, entry), 'utf8');
  for (const [, specifier] of text.matchAll(/^(?:import|export)\s(?!type\b)[^;]*?from '([^']+)';/gm)) {
    if (specifier.startsWith('.')) loadedWith(join(dirname(entry), specifier), found);
    else found.add(specifier);
  }
  return found;
}

describe('in a browser', () => {
  const packages = (entry: string) => [...loadedWith(entry)].filter((name) => !name.endsWith('.ts')).sort();

  test('the package needs nothing of Node, and the package of the import map only', () => {
    expect(packages('index.ts')).toEqual(['@huggingface/tokenizers']);
    expect(packages('ops.ts')).toEqual([]);
  });

  test('a rank needs no package, because import maps do not hold in workers', () => {
    expect(packages('engine/ranks/rank-worker.ts')).toEqual([]);
  });
});

/** What a module can come to import, its imports on need included. */
function reachedFrom(entry: string, found = new Set<string>()): Set<string> {
  if (found.has(entry)) return found;
  found.add(entry);
  const text = readFileSync(join(src, entry), 'utf8');
  for (const [, whole, onNeed] of text.matchAll(
    /^(?:import|export)\s(?!type\b)[^;]*?from '(\.[^']+)';|import\('(\.[^']+)'\)/gm,
  )) {
    reachedFrom(join(dirname(entry), whole ?? onNeed), found);
  }
  return found;
}

// A bundler that makes a bundle of each worker would come to no end: Turbopack did not.
test.each([
  ['engine/ranks/rank-worker.ts', 'engine/ranks/rank-thread.ts'],
  ['checkpoint/stored/files-worker.ts', 'checkpoint/stored/files-thread.ts'],
])('no worker can start itself: %s', (script, starter) => {
  expect([...reachedFrom(script)]).not.toContain(starter);
});
