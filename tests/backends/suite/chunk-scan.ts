import { describe, expect, test } from 'vitest';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { few, grid } from '../../runs.ts';
import {
  type Demands,
  expectClose,
  expectFinite,
  expectSame,
  indices,
  type MakeBackend,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';
import { STALE } from './sequences.ts';
import {
  checkScan,
  expectedResult,
  operationArgs,
  randomInputs,
  type StateSpaceInputs,
  scan,
  spoilUnread,
} from './state-space-problem.ts';

/**
 * Tests {@link StateSpaceOps.mambaChunkScan} on the mathematics of one sequence. Cases: vLLM
 * `tests/kernels/mamba/test_mamba_ssm_ssd.py`, state-spaces/mamba `tests/ops/triton/test_ssd.py`, and more.
 */
export function describeChunkScan(makeBackend: MakeBackend, demands: Demands): void {
  describe('mambaChunkScan, one sequence', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.stateSpace;
    const fresh = (rows: number) => [{ length: rows, slot: 0, hasInitialState: false }];

    /** One sequence from zeros, then from a state, both against the oracle. */
    async function check(inputs: StateSpaceInputs, chunkSize: number, flat = false): Promise<void> {
      const slotSize = inputs.heads * inputs.headDim * inputs.stateSize;
      const stale = new Float32Array(slotSize).fill(STALE);
      await checkScan(backend(), inputs, fresh(inputs.rows), stale, chunkSize, demands, flat);
      const resumed = [{ length: inputs.rows, slot: 0, hasInitialState: true }];
      const state = new Inputs(77).normal(slotSize);
      await checkScan(backend(), inputs, resumed, state, chunkSize, demands, flat);
    }

    const sizes = [3, 4, 11, 16, 32].flatMap((heads) =>
      // Large ones first: a sample of the grid pairs them with few heads.
      [128, 32, 19, 8, 5].flatMap((dim) =>
        [
          [119, 17],
          [112, 16],
          [128, 32],
        ].map(([rows, chunkSize]) => ({ heads, dim, rows, chunkSize })),
      ),
    );
    test.each(grid(sizes))('$heads heads of $dim with $dim states, $rows tokens by $chunkSize', async (size) => {
      const { heads, dim, rows, chunkSize } = size;
      const inputs = randomInputs(new Inputs(0), { heads, headDim: dim, stateSize: dim, groups: heads }, rows);
      const states = new Float32Array(heads * dim * dim).fill(STALE);
      await checkScan(backend(), inputs, fresh(rows), states, chunkSize, demands);
    });

    test.each([
      { heads: 4, headDim: 64, stateSize: 256, groups: 1 },
      { heads: 6, headDim: 80, stateSize: 128, groups: 2 },
      { heads: 1, headDim: 1, stateSize: 1, groups: 1 },
      { heads: 2, headDim: 1, stateSize: 7, groups: 2 },
    ])('$heads heads of $headDim with $stateSize states in $groups groups', (size) =>
      check(randomInputs(new Inputs(1), size, 70), 32),
    );

    test.each(few([2, 12, 1, 3, 6], 2))('12 heads in %i groups, also as flat columns', async (groups) => {
      const size = { heads: 12, headDim: 4, stateSize: 6, groups };
      const inputs = randomInputs(new Inputs(groups), size, 41);
      await check(inputs, 16);
      await check(inputs, 16, true);
    });

    const size = { heads: 6, headDim: 5, stateSize: 7, groups: 2 };
    const variants: Record<string, (inputs: Inputs, rows: number) => Partial<StateSpaceInputs>> = {
      'D per head': (inputs) => ({ D: inputs.normal(6) }),
      'D per head and dim': (inputs) => ({ D: inputs.normal(30) }),
      'a gate z': (inputs, rows) => ({ z: inputs.normal(rows * 30) }),
      'a gate z and D': (inputs, rows) => ({ z: inputs.normal(rows * 30), D: inputs.normal(6) }),
      'far gates': (inputs, rows) => ({ z: inputs.normal(rows * 30, 0, 60) }),
      'dt bias': (inputs) => ({ dtBias: inputs.normal(6) }),
      'dt without softplus': (inputs, rows) => ({
        dtSoftplus: false,
        dt: inputs.normal(rows * 6, 0.1, 0.02),
        dtBias: inputs.normal(6, 0.05, 0.01),
      }),
      'negative dt without softplus, clamped to 0': (inputs, rows) => ({
        dtSoftplus: false,
        dt: inputs.normal(rows * 6),
      }),
      'dt limits': (inputs, rows) => ({ dt: inputs.normal(rows * 6, -2, 2), dtLimit: [0.01, 0.2] }),
      'dt limits that leave one value': () => ({ dtLimit: [0.1, 0.1] }),
      'dt limits that nothing reaches': () => ({ dtLimit: [0, 1e9] }),
      'dt around the softplus threshold': (inputs, rows) => ({ dt: inputs.normal(rows * 6, 20, 0.5) }),
      'very positive and very negative dt': (inputs, rows) => ({ dt: inputs.normal(rows * 6, 0, 100) }),
      'dt so negative that exp(dt) is tiny': (inputs, rows) => ({ dt: inputs.normal(rows * 6, -30, 10) }),
      'decay without memory': () => ({ A: new Float32Array(6).fill(-1e4) }),
      'no decay at all': (inputs, rows) => ({ A: new Float32Array(6), dt: inputs.normal(rows * 6, -6) }),
    };
    test.each(Object.entries(variants))('%s', async (_, variant) => {
      for (const rows of few([33, 1, 64], 2)) {
        const inputs = new Inputs(rows);
        await check({ ...randomInputs(inputs, size, rows), ...variant(inputs, rows) }, 16);
      }
    });

    // vLLM #37501, state-spaces/mamba #713: rounded sums of large decays may exceed 0, and their exponential overflows.
    test.each([10, 1e3, 1e5, 1e30])('no NaN or infinity with A down to -%d', async (scale) => {
      const inputs = new Inputs(2);
      const base = randomInputs(inputs, size, 200);
      const problem = { ...base, A: base.A.map((a) => a * scale), dt: inputs.normal(200 * 6, 1, 3) };
      const { y, states } = await checkScan(backend(), problem, fresh(200), new Float32Array(6 * 5 * 7), 64, demands);
      expectFinite(y, 'y');
      expectFinite(states, 'states');
    });

    test('reads x, dt, B, C and z from strided views and writes to a view', async () => {
      const [rows, H, P, N, G] = [21, 6, 5, 7, 2];
      const inputs = new Inputs(6);
      const base = { ...randomInputs(inputs, size, rows), z: inputs.normal(rows * H * P) };
      const { x, z, B, C, dt } = base;
      const columns = [z, x, B, C, dt].map((part) => part.length / rows);
      const width = columns.reduce((sum, count) => sum + count, 0);
      const fused = new Float32Array(rows * width);
      let begin = 0;
      [z, x, B, C, dt].forEach((part, i) => {
        for (let t = 0; t < rows; t++)
          fused.set(part.subarray(t * columns[i], (t + 1) * columns[i]), t * width + begin);
        begin += columns[i];
      });
      const views = backend().splitColumns(backend().tensor(fused, [rows, width]), columns);
      const ssmStates = backend().zeros([1, H, P, N]);
      const wide = backend().tensor(new Float32Array(rows * (H * P + 2)).fill(3), [rows, H * P + 2]);
      const [left, out, right] = backend().splitColumns(wide, [1, H * P, 1]);
      const result = backend().mambaChunkScan({
        ...operationArgs(backend(), base, true),
        z: views[0],
        x: views[1],
        B: views[2],
        C: views[3],
        dt: views[4],
        nGroups: G,
        ssmStates,
        queryStartLoc: indices(backend(), [0, rows]),
        chunkSize: 8,
        out,
      });
      expect(result).toBe(out);
      const expected = expectedResult(base);
      expectClose(await backend().read(out), expected.y, tolerance, 'y');
      expectClose(await backend().read(ssmStates), expected.state, tolerance, 'state');
      for (const side of [left, right]) {
        expectSame(await backend().read(side), new Float32Array(rows).fill(3), 'what lies beside it');
      }
    });

    test('a stale state of NaN does not reach a new sequence', async () => {
      const inputs = randomInputs(new Inputs(4), size, 20);
      const stale = new Float32Array(6 * 5 * 7).fill(Number.NaN);
      await checkScan(backend(), inputs, fresh(20), stale, 8, demands);
    });

    test('without slots and flags, sequence b overwrites slot b and starts from zeros', async () => {
      const inputs = randomInputs(new Inputs(5), size, 9);
      const ssmStates = backend().tensor(new Float32Array(2 * 6 * 5 * 7).fill(STALE), [2, 6, 5, 7]);
      const y = backend().mambaChunkScan({
        ...operationArgs(backend(), inputs),
        ssmStates,
        chunkSize: 4,
        queryStartLoc: indices(backend(), [0, 4, 9]),
      });
      const sequences = [4, 5].map((length, slot) => ({ length, slot, hasInitialState: false }));
      const explicit = await scan(backend(), inputs, sequences, new Float32Array(2 * 6 * 5 * 7), 4);
      expectSame(await backend().read(y), explicit.y, 'y');
      expectSame(await backend().read(ssmStates), explicit.states, 'states');
    });

    test('empty and padded sequences between others', async () => {
      const sequences = [
        { length: 0, slot: 4, hasInitialState: false },
        { length: 5, slot: 2, hasInitialState: true },
        { length: 3, slot: PAD_SLOT_ID, hasInitialState: true },
        { length: 0, slot: PAD_SLOT_ID, hasInitialState: false },
        { length: 9, slot: 0, hasInitialState: false },
        { length: 0, slot: 3, hasInitialState: true },
      ];
      const inputs = new Inputs(7);
      const problem = randomInputs(inputs, size, 17);
      const states = inputs.normal(5 * 6 * 5 * 7);
      spoilUnread(states, 6 * 5 * 7, sequences);
      await checkScan(backend(), problem, sequences, states, 4, demands);
    });

    test('no tokens at all', async () => {
      const inputs = randomInputs(new Inputs(8), size, 0);
      const states = new Inputs(9).normal(6 * 5 * 7);
      const result = await scan(backend(), inputs, fresh(0), states, 4);
      expect(result.y.length).toBe(0);
      expectSame(result.states, states, 'states');
    });
  });
}
