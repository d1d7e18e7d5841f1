import { expect, test } from 'vitest';
import { uniform } from '../../../src/engine/sample/random.ts';

test('draws are even over [0, 1), and no two streams agree', () => {
  const buckets = new Array<number>(16).fill(0);
  const draws = new Set<number>();
  for (let seed = 0; seed < 40; seed++) {
    for (let counter = 0; counter < 1000; counter++) {
      const u = uniform(seed, counter);
      expect(u).toBeGreaterThanOrEqual(0);
      expect(u).toBeLessThan(1);
      buckets[Math.floor(u * 16)]++;
      draws.add(u);
    }
  }
  // Chi-squared over 15 degrees of freedom: 37.7 is the 99.9th percentile.
  const chiSquared = buckets.reduce((sum, count) => sum + (count - 2500) ** 2 / 2500, 0);
  expect(chiSquared).toBeLessThan(37.7);
  expect(draws.size).toBe(40_000);
});

test('a draw depends on nothing but seed and counter, for any safe integer', () => {
  for (const seed of [0, 1, -1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    expect(uniform(seed, 3)).toBe(uniform(seed, 3));
    expect(uniform(seed, 3)).not.toBe(uniform(seed, 4));
  }
  expect(uniform(1, 0)).not.toBe(uniform(2 ** 32 + 1, 0));
  expect(uniform(1, 0)).not.toBe(uniform(-1, 0));
});

test('a bigint draws what the same number draws, and all of its 64 bits count', () => {
  for (const seed of [0, 1, -1, -5, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
    expect(uniform(BigInt(seed), 3)).toBe(uniform(seed, 3));
  }
  const seeds = [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];
  expect(new Set(seeds.map((seed) => uniform(seed, 0))).size).toBe(seeds.length);
});
