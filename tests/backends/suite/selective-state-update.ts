import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { grid } from '../../runs.ts';
import {
  type Demands,
  expectClose,
  expectFinite,
  expectSame,
  indices,
  type MakeBackend,
  stridedView,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';
import {
  expectedResult,
  operationArgs,
  type StateSpaceInputs,
  type StateSpaceSizes,
  sliceInputs,
} from './state-space-problem.ts';

/**
 * Tests {@link StateSpaceOps.selectiveStateUpdate}. Cases: vLLM `tests/kernels/mamba/test_mamba_ssm.py` and
 * state-spaces/mamba `tests/ops/triton/test_selective_state_update.py`. Mamba-1 is one head of `dim` channels.
 */
export function describeSelectiveStateUpdate(makeBackend: MakeBackend, demands: Demands): void {
  describe('selectiveStateUpdate', () => {
    const backend = useBackend(makeBackend);
    const dims = [2048, 2064, 4096];

    test.each(
      grid(dims.flatMap((dim) => [16, 32, 64].flatMap((N) => [false, true].map((gated) => ({ dim, N, gated }))))),
    )('Mamba-1: $dim channels, $N states, gate: $gated', async ({ dim, N, gated }) => {
      const inputs = new Inputs(dim);
      const size = { heads: 1, headDim: dim, stateSize: N, groups: 1 };
      const states = inputs.normal(dim * N);
      await checkUpdate(backend(), stepInputs(inputs, size, 1, false, gated), states, undefined, demands);
    });

    test.each(
      grid(dims.flatMap((dim) => [0, 5].flatMap((padding) => [false, true].map((gated) => ({ dim, padding, gated }))))),
    )(
      'Mamba-1: 3 of 30 slots and $padding padded rows, $dim channels, gate: $gated',
      async ({ dim, padding, gated }) => {
        const inputs = new Inputs(dim + padding);
        const slots = [...inputs.distinct(3, 30), ...Array.from({ length: padding }, () => PAD_SLOT_ID)];
        const size = { heads: 1, headDim: dim, stateSize: 16, groups: 1 };
        const states = inputs.normal(30 * dim * 16);
        await checkUpdate(backend(), stepInputs(inputs, size, slots.length, false, gated), states, slots, demands);
      },
    );

    const multiHead = [2048, 4096].flatMap((dim) =>
      [16, 32, 64].flatMap((N) =>
        [1, 2, 4].flatMap((groups) =>
          [false, true].flatMap((tied) => [false, true].map((gated) => ({ dim, N, groups, tied, gated }))),
        ),
      ),
    );
    test.each(grid(multiHead))(
      '$dim channels in heads of 64, $N states, $groups groups, one rate a head: $tied, gate: $gated',
      async ({ dim, N, groups, tied, gated }) => {
        const inputs = new Inputs(dim + N);
        const size = { heads: dim / 64, headDim: 64, stateSize: N, groups };
        const slots = [4, PAD_SLOT_ID, 1, 3];
        const states = inputs.normal(6 * dim * N);
        await checkUpdate(backend(), stepInputs(inputs, size, 4, tied, gated), states, slots, demands);
      },
    );

    test.each([
      { heads: 6, headDim: 80, stateSize: 128, groups: 2 },
      { heads: 3, headDim: 64, stateSize: 256, groups: 1 },
      { heads: 5, headDim: 1, stateSize: 3, groups: 5 },
    ])('$heads heads of $headDim with $stateSize states in $groups groups', async (size) => {
      const inputs = new Inputs(1);
      const states = inputs.normal(3 * size.heads * size.headDim * size.stateSize);
      await checkUpdate(backend(), stepInputs(inputs, size, 3, true, true), states, [2, 0, 1], demands);
    });

    const size = { heads: 6, headDim: 5, stateSize: 7, groups: 3 };
    const variants: Record<string, (inputs: Inputs) => Partial<StateSpaceInputs>> = {
      'no D': () => ({ D: undefined }),
      'no dt bias': () => ({ dtBias: undefined }),
      'no softplus, dt clamped to 0': (inputs) => ({ dtSoftplus: false, dt: inputs.normal(4 * 6) }),
      'dt limits': (inputs) => ({ dt: inputs.normal(4 * 6), dtLimit: [0.3, 0.6] }),
      'extreme dt': (inputs) => ({ dt: inputs.normal(4 * 6, 0, 200) }),
      'large decay': (inputs) => ({ A: inputs.decayRates(6).map((a) => a * 1e30) }),
      'far gates': (inputs) => ({ z: inputs.normal(4 * 30, 0, 60) }),
    };
    test.each(Object.entries(variants))('%s', async (_, variant) => {
      const inputs = new Inputs(2);
      const problem = { ...stepInputs(inputs, size, 4, true, false), ...variant(inputs) };
      const states = inputs.normal(8 * 6 * 5 * 7);
      await checkUpdate(backend(), problem, states, [7, 2, PAD_SLOT_ID, 5], demands);
      await checkUpdate(backend(), problem, states, undefined, demands);
    });

    test('flat columns from strided views, written to a view', async () => {
      const inputs = new Inputs(3);
      const problem = stepInputs(inputs, size, 4, true, true);
      const state = backend().tensor(inputs.normal(4 * 6 * 5 * 7), [4, 6, 5, 7]);
      const copy = backend().tensor(await backend().read(state), [4, 6, 5, 7]);
      const plain = backend().selectiveStateUpdate({ ...operationArgs(backend(), problem), state: copy });
      const wide = backend().zeros([4, 33]);
      const [left, out] = backend().splitColumns(wide, [3, 30]);
      const result = backend().selectiveStateUpdate({
        ...operationArgs(backend(), problem, true),
        x: stridedView(backend(), problem.x, 4, 30),
        dt: stridedView(backend(), problem.dt, 4, 6),
        B: stridedView(backend(), problem.B, 4, 21),
        C: stridedView(backend(), problem.C, 4, 21),
        state,
        out,
      });
      expect(result).toBe(out);
      expectSame(await backend().read(out), await backend().read(plain), 'y');
      expectSame(await backend().read(state), await backend().read(copy), 'states');
      expectSame(await backend().read(left), new Float32Array(12), 'what lies beside it');
    });

    test('no rows', async () => {
      const inputs = new Inputs(4);
      const problem = stepInputs(inputs, size, 0, true, false);
      const states = inputs.normal(2 * 6 * 5 * 7);
      const state = backend().tensor(states, [2, 6, 5, 7]);
      const y = backend().selectiveStateUpdate({ ...operationArgs(backend(), problem), state });
      expect(y.shape).toEqual([0, 6, 5]);
      expectSame(await backend().read(state), states, 'states');
    });
  });
}

/** Inputs as the upstream tests draw them; `tied`: A, dt, its bias and D have one value per head. */
function stepInputs(
  inputs: Inputs,
  sizes: StateSpaceSizes,
  rows: number,
  tied: boolean,
  gated: boolean,
): StateSpaceInputs {
  const { heads: H, headDim: P, stateSize: N, groups: G } = sizes;
  const perHead = tied ? H : H * P;
  return {
    ...sizes,
    rows,
    x: inputs.normal(rows * H * P),
    dt: inputs.normal(rows * perHead),
    A: inputs.decayRates(tied ? H : H * P * N),
    B: inputs.normal(rows * G * N),
    C: inputs.normal(rows * G * N),
    D: inputs.normal(perHead),
    z: gated ? inputs.normal(rows * H * P) : undefined,
    dtBias: inputs.normal(perHead, -4),
    dtSoftplus: true,
  };
}

/** One step on the backend and by the oracle: outputs, used states, and that nothing else changed. */
async function checkUpdate(
  backend: Backend,
  inputs: StateSpaceInputs,
  states: Float32Array,
  slots: readonly number[] | undefined,
  demands: Demands,
): Promise<void> {
  const { rows, heads: H, headDim: P, stateSize: N } = inputs;
  const slotSize = H * P * N;
  const state = backend.tensor(states, [states.length / slotSize, H, P, N]);
  const out = backend.selectiveStateUpdate({
    ...operationArgs(backend, inputs),
    state,
    stateBatchIndices: slots && indices(backend, slots),
  });
  const [y, after] = [await backend.read(out), await backend.read(state)];
  const untouched = new Set(Array.from({ length: states.length / slotSize }, (_, slot) => slot));
  for (let b = 0; b < rows; b++) {
    const slot = slots ? slots[b] : b;
    const row = y.subarray(b * H * P, (b + 1) * H * P);
    if (slot === PAD_SLOT_ID) {
      expectFinite(row, 'padded row');
      continue;
    }
    const [begin, end] = [slot * slotSize, (slot + 1) * slotSize];
    const expected = expectedResult(sliceInputs(inputs, b, b + 1), states.subarray(begin, end));
    expectClose(row, expected.y, demands.tolerances.stateSpace, `y of row ${b}`);
    expectClose(after.subarray(begin, end), expected.state, demands.tolerances.stateSpace, `state of slot ${slot}`);
    untouched.delete(slot);
  }
  for (const slot of untouched) {
    const [begin, end] = [slot * slotSize, (slot + 1) * slotSize];
    expectSame(after.subarray(begin, end), states.subarray(begin, end), `unused slot ${slot}`);
  }
}
