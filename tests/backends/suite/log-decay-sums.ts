import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { runs } from '../../runs.ts';
import { stepSize } from '../oracle/state-space.ts';
import {
  type Demands,
  expectAgreement,
  expectClose,
  expectSame,
  indices,
  type MakeBackend,
  stridedView,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';

/** Rows of step sizes and what turns them into decays. */
interface Decays {
  readonly heads: number;
  /** (rows, H) */
  readonly dt: Float32Array;
  readonly A: Float32Array;
  readonly dtBias?: Float32Array | undefined;
  readonly dtSoftplus: boolean;
  readonly dtLimit?: readonly [number, number] | undefined;
}

function randomDecays(inputs: Inputs, heads: number, rows: number): Decays {
  return {
    heads,
    dt: inputs.normal(rows * heads),
    A: inputs.decayRates(heads),
    dtBias: inputs.normal(heads, -2),
    dtSoftplus: true,
  };
}

function args(backend: Backend, { heads, dt, A, dtBias, dtSoftplus, dtLimit }: Decays) {
  return {
    dt: backend.tensor(dt, [dt.length / heads, heads]),
    A: backend.tensor(A, [heads]),
    dtBias: dtBias && backend.tensor(dtBias, [heads]),
    dtSoftplus,
    dtLimit,
  };
}

/** Σ A Δ in float64, per sequence and head. */
function expected({ heads, dt, A, dtBias, dtSoftplus, dtLimit }: Decays, starts: readonly number[]): number[] {
  const limit = dtLimit ?? [0, Number.POSITIVE_INFINITY];
  return starts.slice(1).flatMap((end, b) =>
    Array.from({ length: heads }, (_, h) => {
      let sum = 0;
      for (let t = starts[b]; t < end; t++) {
        sum += A[h] * stepSize(dt[t * heads + h], dtBias?.[h] ?? 0, dtSoftplus, limit);
      }
      return sum;
    }),
  );
}

async function sums(backend: Backend, decays: Decays, starts?: readonly number[]): Promise<Float32Array> {
  const queryStartLoc = starts && indices(backend, starts);
  return backend.read(backend.logDecaySums({ ...args(backend, decays), queryStartLoc }));
}

/** Tests {@link StateSpaceOps.logDecaySums}. */
export function describeLogDecaySums(makeBackend: MakeBackend, demands: Demands): void {
  describe('logDecaySums', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.stateSpace;
    const starts = [0, 5, 5, 6, 40];

    test.each([1, 3, 4, 24, 129])('several sequences of %i heads', async (heads) => {
      const decays = randomDecays(new Inputs(heads), heads, 40);
      const out = backend().logDecaySums({ ...args(backend(), decays), queryStartLoc: indices(backend(), starts) });
      expect(out.shape).toEqual([4, heads]);
      const found = await backend().read(out);
      expectClose(found, expected(decays, starts), tolerance, 'sums');
      expectSame(found.slice(heads, 2 * heads), new Float32Array(heads), 'of an empty sequence');
    });

    const variants: Record<string, (inputs: Inputs) => Partial<Decays>> = {
      'no dt bias': () => ({ dtBias: undefined }),
      'no softplus, dt clamped to 0': () => ({ dtSoftplus: false }),
      'dt limits': () => ({ dtLimit: [0.1, 0.6] }),
      'extreme dt': (inputs) => ({ dt: inputs.normal(40 * 6, 0, 200) }),
      'large decay': (inputs) => ({ A: inputs.decayRates(6).map((a) => a * 1e30) }),
    };
    test.each(Object.entries(variants))('%s', async (_, variant) => {
      const inputs = new Inputs(2);
      const decays = { ...randomDecays(inputs, 6, 40), ...variant(inputs) };
      expectClose(await sums(backend(), decays, starts), expected(decays, starts), tolerance, 'sums');
    });

    test('no rows, no sequences', async () => {
      const decays = randomDecays(new Inputs(3), 6, 0);
      expectSame(await sums(backend(), decays), [], 'rows alone');
      expectSame(await sums(backend(), decays, [0]), [], 'no sequences');
      expectSame(await sums(backend(), decays, [0, 0]), [0, 0, 0, 0, 0, 0], 'an empty one');
    });

    test('by default every row is a sequence of its own', async () => {
      const decays = randomDecays(new Inputs(4), 6, 9);
      const rows = Array.from({ length: 10 }, (_, i) => i);
      expectSame(await sums(backend(), decays), await sums(backend(), decays, rows), 'sums');
    });

    test('from a strided view to columns of a wider tensor, and nowhere else', async () => {
      const decays = randomDecays(new Inputs(5), 6, 40);
      const wide = backend().tensor(new Float32Array(4 * 15).fill(7), [4, 15]);
      const [left, out, right] = backend().splitColumns(wide, [2, 6, 7]);
      const dt = stridedView(backend(), decays.dt, 40, 6);
      const queryStartLoc = indices(backend(), starts);
      const result = backend().logDecaySums({ ...args(backend(), decays), dt, queryStartLoc, out });
      expect(result).toBe(out);
      expectSame(await backend().read(out), await sums(backend(), decays, starts), 'sums');
      expectSame(await backend().read(left), new Float32Array(8).fill(7), 'left');
      expectSame(await backend().read(right), new Float32Array(28).fill(7), 'right');
    });

    test('a sequence has the same bits alone as packed, and its parts have its sum', async () => {
      const property = fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(),
        async (lengths, heads, seed) => {
          const inputs = new Inputs(seed);
          const total = lengths.reduce((sum, length) => sum + length, 0);
          const decays = randomDecays(inputs, heads, total);
          const begins = lengths.map((_, b) => lengths.slice(0, b).reduce((sum, length) => sum + length, 0));
          const packed = await sums(backend(), decays, [...begins, total]);
          for (const [b, length] of lengths.entries()) {
            const dt = decays.dt.slice(begins[b] * heads, (begins[b] + length) * heads);
            const one = packed.slice(b * heads, (b + 1) * heads);
            expectAgreement(one, await sums(backend(), { ...decays, dt }, [0, length]), demands, tolerance, 'alone');
            const cut = inputs.integer(0, length);
            const parts = await sums(backend(), { ...decays, dt }, [0, cut, length]);
            const joined = parts.slice(0, heads).map((sum, h) => sum + parts[heads + h]);
            expectClose(joined, one, tolerance, 'parts');
          }
        },
      );
      await fc.assert(property, { seed: 7, numRuns: runs(30) });
    });

    test('what the scan leaves of a state that nothing is added to', async () => {
      const [H, P, N, T] = [6, 3, 5, 20];
      const inputs = new Inputs(8);
      const decays = randomDecays(inputs, H, T);
      const before = inputs.normal(H * P * N);
      const ssmStates = backend().tensor(before, [1, H, P, N]);
      const queryStartLoc = indices(backend(), [0, T]);
      backend().mambaChunkScan({
        ...args(backend(), decays),
        x: backend().zeros([T, H, P]),
        B: backend().tensor(inputs.normal(T * N), [T, 1, N]),
        C: backend().tensor(inputs.normal(T * N), [T, 1, N]),
        ssmStates,
        queryStartLoc,
        hasInitialState: indices(backend(), [1]),
        chunkSize: 8,
      });
      const logs = await sums(backend(), decays, [0, T]);
      const left = before.map((value, i) => value * Math.exp(logs[Math.floor(i / (P * N))]));
      expectClose(await backend().read(ssmStates), left, tolerance, 'state');
    });
  });
}
