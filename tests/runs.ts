/**
 * Share of generated cases that tests try: of the runs of properties (`runs`) and of the combinations in grids (`grid`).
 * The environment's MAMBA2_RUNS says it; vitest.config.ts sets it for quick runs. All of them otherwise.
 */
const SHARE = Number(process.env.MAMBA2_RUNS ?? 1);

/** What a property tries at the least. */
const FEWEST_RUNS = 5;

/** How many cases a property tries in this run, of those that it tries in a full run. */
export function runs(all: number): number {
  return Math.max(Math.round(all * SHARE), Math.min(all, FEWEST_RUNS));
}

/**
 * Cases of a grid that this run tries: all of them in a full run, and otherwise as few as have each pair of values of two
 * entries in one of them, so that what depends on one entry, or on two together, is still tried.
 * @param cases records, or tuples, that each have the same entries
 */
export function grid<T extends object>(cases: readonly T[]): readonly T[] {
  if (SHARE >= 1) return cases;
  const pairs = cases.map(pairsOf);
  const missing = new Set(pairs.flat());
  const chosen = new Set<number>();
  while (missing.size > 0) {
    const gains = pairs.map((own) => own.filter((pair) => missing.has(pair)).length);
    const best = gains.indexOf(Math.max(...gains));
    chosen.add(best);
    for (const pair of pairs[best]) missing.delete(pair);
  }
  return cases.filter((_, i) => chosen.has(i));
}

/** Values of any two entries of a case, as keys. */
function pairsOf(item: object): string[] {
  const entries = Object.entries(item).map(([key, value]) => `${key}:${JSON.stringify(value)}`);
  return entries.flatMap((one, i) => entries.slice(i).map((other) => `${one} ${other}`));
}
