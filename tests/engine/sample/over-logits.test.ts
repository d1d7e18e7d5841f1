import fc from 'fast-check';
import { expect, test } from 'vitest';
import { exponential } from '../../../src/engine/sample/exponential.ts';
import { overLogits } from '../../../src/engine/sample/over-logits.ts';
import { runs } from '../../runs.ts';

const logits = fc
  .array(fc.oneof(fc.float({ min: -80, max: 80, noNaN: true }), fc.constant(Number.NEGATIVE_INFINITY)), {
    minLength: 1,
    maxLength: 70,
  })
  .filter((values) => values.some(Number.isFinite))
  .map((values) => Float32Array.from(values));
const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

test('the largest logit, and log Σ exp', () => {
  const property = fc.property(logits, (x) => {
    const { largest, total } = overLogits.logSumExp(x);
    expect(largest).toBe(Math.max(...x));
    expect(overLogits.largest(x)).toBe(largest);
    expect(total).toBeCloseTo(largest + Math.log(sum(Array.from(x, (value) => exponential(value - largest)))), 6);
  });
  fc.assert(property, { numRuns: runs(2000), seed: 1 });
});

test('weights are exponentials to the bit, and a place is picked in their running sum', () => {
  const property = fc.property(
    logits,
    fc.constantFrom(0, 0.01, 1),
    fc.double({ min: 0.1, max: 10, noNaN: true }),
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (x, minP, inverse, u) => {
      const largest = Math.max(...x);
      const { weights, total } = overLogits.weigh(x, { largest, inverse, minP });
      const expected = Float64Array.from(x, (value) => exponential((value - largest) * inverse));
      expect(weights).toEqual(expected.map((weight) => (weight >= minP ? weight : 0)));
      expect(total).toBeCloseTo(sum(weights), 11);
      const picked = overLogits.pick(total * u);
      expect(weights[picked]).toBeGreaterThan(0);
      // The sum's rounding may decide at an edge.
      const begin = sum(weights.subarray(0, picked));
      expect(begin).toBeLessThanOrEqual(total * u * (1 + 1e-12) + 1e-300);
      expect(begin + weights[picked]).toBeGreaterThanOrEqual(total * u * (1 - 1e-12));
    },
  );
  fc.assert(property, { numRuns: runs(2000), seed: 2 });
});

test('what is no number shows', () => {
  for (const place of [0, 3, 4, 8]) {
    const x = new Float32Array(9).fill(1);
    x[place] = Number.NaN;
    expect(overLogits.largest(x)).toBeNaN();
    expect(overLogits.logSumExp(x).largest).toBeNaN();
    x[place] = Number.POSITIVE_INFINITY;
    expect(overLogits.largest(x)).toBe(Number.POSITIVE_INFINITY);
  }
  expect(overLogits.largest(new Float32Array(5).fill(Number.NEGATIVE_INFINITY))).toBe(Number.NEGATIVE_INFINITY);
});
