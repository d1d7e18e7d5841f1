import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** The floors of the house, lowest first: a file may import from its own floor and those below. */
const FLOORS = [
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
    expect(text.split('\n').length).toBeLessThanOrEqual(300);
  });
});
