import { describe, expect, test } from 'vitest';
import type { Launch } from '../../../src/backends/cuda/launch/launch.ts';
import { Unwritten } from '../../../src/backends/cuda/launch/unwritten.ts';

const ROWS = 100;
const rows = (address: number) => ({ address, stride: 8 });

const norm = (numParts: number, count = ROWS) => ({
  name: 'rms_norm',
  grid: { blocks: [count], threads: 256 },
  parameters: { x: rows(1000), weight: rows(1), out: rows(10_000), parts: 20_000, C: 8, numParts, hasAddend: 0 },
});
const product = {
  name: 'linear_wide_64x64_FLOAT16',
  grid: { blocks: [1], threads: 256 },
  parameters: {
    ...{ x: 20_000, weight: 2, out: rows(30_000), addend: rows(1000), sum: rows(40_000), hasAddend: 1, T: ROWS, N: 8 },
    normX: undefined,
  },
};
const other = (address: number) => ({
  name: 'elementwise',
  grid: { blocks: [1], threads: 256 },
  parameters: { x: rows(address), out: rows(90_000) },
});

/** Takes a launch, and those that it stands for: their names, with what is left out. */
function taken(unwritten: Unwritten, launch: unknown, replaced: readonly unknown[] = [launch], mayLeaveOut = true) {
  const due = unwritten.next(launch as Launch, replaced as Launch[], mayLeaveOut);
  return due.map(({ name, parameters }) => `${name}${'out' in parameters && parameters.out ? '' : ' without out'}`);
}

describe('what launches of prompts leave out', () => {
  const original = norm(0);

  test('is not written while nothing reads it', () => {
    const unwritten = new Unwritten();
    expect(taken(unwritten, norm(2), [original, { name: 'split_rows' }])).toEqual(['rms_norm without out']);
    expect(taken(unwritten, product)).toEqual(['linear_wide_64x64_FLOAT16 without out']);
    // Beside what was left out.
    expect(taken(unwritten, other(9999))).toEqual(['elementwise']);
    expect(taken(unwritten, other(10_000 + 4 * (99 * 8 + 8)))).toEqual(['elementwise']);
    unwritten.clear();
    expect(taken(unwritten, other(10_000))).toEqual(['elementwise']);
  });

  test('is made where something reads a part of it, and written from then on', () => {
    const unwritten = new Unwritten();
    taken(unwritten, norm(2), [original, { name: 'split_rows' }]);
    expect(taken(unwritten, other(10_000 + 4 * (99 * 8 + 7)))).toEqual(['rms_norm', 'elementwise']);
    expect(taken(unwritten, other(10_000))).toEqual(['elementwise']);
    expect(taken(unwritten, norm(2))).toEqual(['rms_norm']);
    taken(unwritten, product);
    expect(unwritten.read(30_004)).toEqual([product]);
    expect(unwritten.read(30_004)).toEqual([]);
  });

  test('is not read after its part, unless it is the result', () => {
    for (const [results, found] of [
      [[10_000], 1],
      [[10_000, undefined], 0],
      [[9_000], 0],
    ] as const) {
      const unwritten = new Unwritten();
      taken(unwritten, norm(2), [original, { name: 'split_rows' }]);
      for (const result of results) unwritten.endPart(result);
      expect(unwritten.read(10_000)).toHaveLength(found);
    }
  });

  test.each([
    ['few rows', norm(2, 64)],
    ['rows that are not split', norm(0)],
    ['rows of many columns', { ...norm(2), parameters: { ...norm(2).parameters, C: 4100 } }],
    ['a product that is added to nothing', { ...product, parameters: { ...product.parameters, hasAddend: 0 } }],
    ['a product of slices', { ...product, parameters: { ...product.parameters, slices: 5 } }],
    ['a product of codes', { ...product, name: 'linear_wide_64x64_CODES' }],
  ])('is nothing of %s', (_, launch) => {
    expect(taken(new Unwritten(), launch)).toEqual([launch.name]);
  });

  test('is nothing where it may not be', () => {
    expect(taken(new Unwritten(), norm(2), [original], false)).toEqual(['rms_norm']);
  });
});
