import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** The floors of the house, lowest first: a file may import from its own floor and those below. */
const FLOORS = [
  // What a browser loads from the server stands alone.
  'page',
  'errors',
  'tensor',
  'distributed',
  'checkpoint',
  'text',
  'backends',
  'layers',
  'models',
  'engine',
  'faces',
  'playground',
  'server',
  'cli',
];

/** Files directly in src/ that are not a floor of their own show what the engine and the floors below offer. */
function floorOf(path: string): string {
  const [first, ...rest] = path.split(sep);
  if (first === 'errors.ts') return 'errors';
  return rest.length === 0 ? 'faces' : first;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));

describe('architecture', () => {
  test.each(files)('%s imports only from its floor or below, and is a screen or few long', (path) => {
    const text = readFileSync(join(src, path), 'utf8');
    const imports = [...text.matchAll(/from '(\.[^']+)'|import\('(\.[^']+)'\)/g)].map((match) => match[1] ?? match[2]);
    const own = FLOORS.indexOf(floorOf(path));
    expect(own, `${path} lies on no known floor`).toBeGreaterThanOrEqual(0);
    for (const specifier of imports) {
      const target = relative(src, join(src, dirname(path), specifier));
      const floor = floorOf(target);
      expect(FLOORS.indexOf(floor), `${path} imports ${target}`).toBeLessThanOrEqual(own);
    }
    expect(text.split('\n').length).toBeLessThanOrEqual(600);
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
    expect(packages('engine/rank-worker.ts')).toEqual([]);
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
  ['engine/rank-worker.ts', 'engine/rank-thread.ts'],
  ['checkpoint/stored/files-worker.ts', 'checkpoint/stored/files-thread.ts'],
])('no worker can start itself: %s', (script, starter) => {
  expect([...reachedFrom(script)]).not.toContain(starter);
});
