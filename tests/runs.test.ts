import { afterEach, expect, test, vi } from 'vitest';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** The helpers as a run with this share of generated cases has them. */
async function withShare(share: string | undefined): Promise<typeof import('./runs.ts')> {
  vi.stubEnv('MAMBA2_RUNS', share);
  vi.resetModules();
  return import('./runs.ts');
}

const CASES = [1, 2, 3, 4].flatMap((rows) =>
  ['a', 'b'].flatMap((name) => [true, false].map((on) => ({ rows, name, on }))),
);

test('a full run tries everything', async () => {
  for (const share of ['1', undefined]) {
    const { grid, runs } = await withShare(share);
    expect(runs(300)).toBe(300);
    expect(grid(CASES)).toEqual(CASES);
  }
});

test('a quick run tries a share of the runs, but some of each', async () => {
  const { runs } = await withShare('0.1');
  expect([3000, 300, 12, 3].map(runs)).toEqual([300, 30, 5, 3]);
});

test('a quick run tries the first of few cases', async () => {
  expect((await withShare('0.1')).few([1, 2, 3])).toEqual([1]);
  expect((await withShare('0.1')).few([1, 2, 3], 2)).toEqual([1, 2]);
  expect((await withShare('1')).few([1, 2, 3])).toEqual([1, 2, 3]);
});

test('a quick run tries each value of each entry', async () => {
  const { grid } = await withShare('0.1');
  const few = grid(CASES);
  expect(few).toHaveLength(4);
  for (const key of ['rows', 'name', 'on'] as const) {
    expect(new Set(few.map((item) => item[key]))).toEqual(new Set(CASES.map((item) => item[key])));
  }
});
