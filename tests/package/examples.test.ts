import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { PublicExamples } from './examples.ts';

const FOLDER = fileURLToPath(new URL('../../examples/', import.meta.url));
const scripts = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js'));

test('examples in public comments, and the scripts of examples/, compile', { timeout: 120_000 }, () => {
  const found = new PublicExamples();
  expect(found.examples.length).toBeGreaterThan(1);
  expect(found.problems(scripts.map((file) => FOLDER + file))).toEqual([]);
  expect(found.without, 'functions and classes without an @example').toEqual([]);
});
