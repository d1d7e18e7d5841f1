import fc from 'fast-check';
import { expect, test } from 'vitest';
import { exponential } from '../../../src/engine/sample/exponential.ts';
import { runs } from '../../runs.ts';

test('exponential is exp to 12 digits', () => {
  const property = fc.property(fc.double({ min: -40, max: 0, minExcluded: true, noNaN: true }), (x) => {
    expect(Math.abs(exponential(x) / Math.exp(x) - 1)).toBeLessThan(3e-12);
  });
  fc.assert(property, { numRuns: runs(20_000), seed: 1 });
  for (let k = 0; k < 40 * 32; k++) expect(exponential(-k / 32)).toBeCloseTo(Math.exp(-k / 32), 12);
});

test('exponential of 0 is 1, and of what is far below is 0', () => {
  expect(exponential(0)).toBe(1);
  expect(exponential(-0)).toBe(1);
  for (const x of [-40, -1e9, Number.NEGATIVE_INFINITY, Number.NaN]) expect(exponential(x)).toBe(0);
});
