/**
 * Share of generated cases that tests try: of the runs of properties (`runs`) and of the combinations in grids (`grid`).
 * The environment's MAMBA2_RUNS says it, which vitest.config.ts sets for each mode. All of them otherwise.
 */
const SHARE = Number(process.env.MAMBA2_RUNS ?? 1);

/** Whether this run tries everything. */
export const isFullRun = SHARE >= 1;

/** What a property tries at the least. */
const FEWEST_RUNS = 5;

/** Cases that this run tries, of some that each take long: all of them in a full run, and the first ones otherwise. */
export function few<T>(cases: readonly T[], count = 1): readonly T[] {
  return isFullRun ? cases : cases.slice(0, count);
}

/** How many cases a property tries in this run, of those that it tries in a full run. */
export function runs(all: number): number {
  return Math.max(Math.round(all * SHARE), Math.min(all, FEWEST_RUNS));
}

/**
 * Cases of a grid that this run tries: all of them in a full run, and otherwise as few as have each value of each entry in
 * one of them.
 * @param cases records that each have the same entries
 */
export function grid<T extends object>(cases: readonly T[]): readonly T[] {
  if (isFullRun) return cases;
  const values = cases.map((item) => Object.entries(item).map(([key, value]) => `${key}: ${JSON.stringify(value)}`));
  const missing = new Set(values.flat());
  const chosen = new Set<number>();
  while (missing.size > 0) {
    const gains = values.map((own) => own.filter((value) => missing.has(value)).length);
    const best = gains.indexOf(Math.max(...gains));
    chosen.add(best);
    for (const value of values[best]) missing.delete(value);
  }
  return cases.filter((_, i) => chosen.has(i));
}
