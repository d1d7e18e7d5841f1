import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundle } from './bundle.ts';

test('Vite bundles the library with its worker, and nothing of Node', async () => {
  const folder = join(await bundle(), 'assets');
  const scripts = (await readdir(folder)).filter((file) => file.endsWith('.js'));
  expect(scripts.some((file) => file.startsWith('rank-worker'))).toBe(true);
  for (const file of scripts) {
    expect(await readFile(join(folder, file), 'utf8'), file).not.toMatch(/(from|import\()\s*["'`]node:/);
  }
});
