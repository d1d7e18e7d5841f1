import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

// Threads and processes that tests start compile the sources anew, unless Node keeps what it has compiled.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('node_modules/.cache/mamba2-tests', import.meta.url));

/** Test files of each area; the rest are units. */
const AREAS: Readonly<Record<string, string>> = {
  webgpu: 'tests/{backends,engine}/webgpu/**/*.test.ts',
  browser: 'tests/{browser,playground}/**/*.test.ts',
  contract: 'tests/backends/*.test.ts',
  engine: 'tests/{engine,models}/**/*.test.ts',
  server: 'tests/server/**/*.test.ts',
  cli: 'tests/{cli,bench}/**/*.test.ts',
  unit: 'tests/**/*.test.ts',
};

/** Areas whose tests replace modules, and have drivers crash. */
const ISOLATED = ['webgpu'];

/** What takes long and seldom finds anything that the other tests do not: `npm run test:all`. */
const EXHAUSTIVE = 'tests/**/*.exhaustive.test.ts';

/** Shares of generated cases that modes try, as tests/runs.ts reads them; a quick run tries a twentieth. */
const SHARES: Readonly<Record<string, string>> = { all: '1', rest: '0.2' };

/** Where the longest files are: what begins with them does not end with one worker that waits for the other. */
const LONGEST = [/backends\/.*exhaustive/, /browser\/.*exhaustive/, /exhaustive/, /backends\/cuda/];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => placeOf(a.moduleId) - placeOf(b.moduleId));
  }
}

function placeOf(file: string): number {
  const place = LONGEST.findIndex((pattern) => pattern.test(file));
  return place === -1 ? LONGEST.length : place;
}

/** An area has the files of its pattern that no area before it has. */
const areas = Object.entries(AREAS).map(([name, include], i, all) => ({
  name,
  include: [include],
  // The other files of an area share the modules that a worker has loaded.
  isolate: ISOLATED.includes(name),
  exclude: [...configDefaults.exclude, EXHAUSTIVE, ...all.slice(0, i).map(([, earlier]) => earlier)],
}));

export default defineConfig(({ mode }) => ({
  test: {
    globalSetup: ['tests/needs/global-setup.ts'],
    // Ranks are worker threads, which vitest's own thread pool would nest.
    pool: 'forks',
    maxWorkers: '100%',
    sequence: { sequencer: LongestFirst },
    // Against what hangs: a machine with other work takes its time.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    env: { MAMBA2_RUNS: process.env.MAMBA2_RUNS ?? SHARES[mode] ?? '0.05' },
    projects: [...areas, { name: 'exhaustive', include: [EXHAUSTIVE], isolate: true }].map((test) => ({
      extends: true,
      test,
    })),
  },
}));
