import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { ArgumentError, MetadataError, ShapeError } from '../../src/errors.ts';
import { hostIndices, hostTensor, hostZeros, mambaChunkScanCombined, rmsNormGated } from '../../src/ops.ts';
import { gatedNorm } from './oracle/norm.ts';
import { expectClose, expectSame } from './suite/harness.ts';
import { Inputs } from './suite/inputs.ts';
import { type Sequence, spans } from './suite/sequences.ts';
import { expectedResult, operationArgs, randomInputs, sliceInputs } from './suite/state-space-problem.ts';

const backend = new ReferenceBackend();
const tolerance = { relative: 1e-6, absolute: 1e-7 };

describe('rmsNormGated', () => {
  const variants = [
    { columns: 64, groupSize: 64 },
    { columns: 64, groupSize: 16 },
    { columns: 100, groupSize: 20 },
    { columns: 2048, groupSize: 64 },
  ].flatMap((size) =>
    [false, true].flatMap((normBeforeGate) => [false, true].map((gated) => ({ ...size, normBeforeGate, gated }))),
  );
  test.each(variants)(
    '$columns columns in groups of $groupSize, norm before gate: $normBeforeGate, gate: $gated',
    ({ columns, groupSize, normBeforeGate, gated }) => {
      const inputs = new Inputs(columns);
      const [x, weight] = [inputs.normal(6 * columns), inputs.normal(columns)];
      const z = gated ? inputs.normal(6 * columns) : undefined;
      const out = rmsNormGated(hostTensor(x, [6, columns]), {
        weight: hostTensor(weight, [columns]),
        z: z && hostTensor(z, [6, columns]),
        eps: 1e-5,
        groupSize,
        normBeforeGate,
      });
      expectClose(
        out.data,
        gatedNorm({ columns, x, z, weight, eps: 1e-5, groupSize, normBeforeGate }),
        tolerance,
        'norm',
      );
    },
  );

  test('by default one group, eps 1e-6 and gate before norm', () => {
    const inputs = new Inputs(1);
    const [x, z, weight] = [inputs.normal(30, 0, 1e-3), inputs.normal(30), inputs.normal(10)];
    const out = rmsNormGated(hostTensor(x, [3, 10]), { weight: hostTensor(weight, [10]), z: hostTensor(z, [3, 10]) });
    const problem = { columns: 10, x, z, weight, eps: 1e-6, groupSize: 10, normBeforeGate: false };
    expectClose(out.data, gatedNorm(problem), tolerance, 'norm');
  });

  test.each([0, -5, 3, 20, Number.NaN])('refuses groups of %d of 10 columns', (groupSize) => {
    expect(() => rmsNormGated(hostZeros([3, 10]), { weight: hostZeros([10]), groupSize })).toThrow(ArgumentError);
  });
});

describe('mambaChunkScanCombined', () => {
  const size = { heads: 4, headDim: 3, stateSize: 5, groups: 2 };
  const stateSize = 4 * 3 * 5;
  const lengths = [7, 0, 1, 12];
  const sequences: Sequence[] = lengths.map((length, slot) => ({ length, slot, hasInitialState: true }));

  function expected(inputs: ReturnType<typeof randomInputs>, initial: Float32Array) {
    const results = spans(sequences).map(({ begin, end, slot }) => {
      const state = initial.subarray(slot * stateSize, (slot + 1) * stateSize);
      return expectedResult(sliceInputs(inputs, begin, end), state);
    });
    return { y: results.flatMap(({ y }) => [...y]), states: results.flatMap(({ state }) => [...state]) };
  }

  test.each([false, true])('several sequences, initial states: %s', (hasInitialStates) => {
    const inputs = new Inputs(2);
    const problem = { ...randomInputs(inputs, size, 20), D: inputs.normal(4), dtBias: inputs.normal(4) };
    const initial = hasInitialStates ? inputs.normal(4 * stateSize) : new Float32Array(4 * stateSize);
    const initialStates = hasInitialStates ? hostTensor(initial.slice(), [4, 4, 3, 5]) : undefined;
    const { out, finalStates } = mambaChunkScanCombined({
      ...operationArgs(backend, problem),
      chunkSize: 8,
      cuSeqlens: hostIndices([0, 7, 7, 8, 20]),
      initialStates,
    });
    const { y, states } = expected(problem, initial);
    expect(finalStates.shape).toEqual([4, 4, 3, 5]);
    expectClose(out.data, y, { relative: 1e-5, absolute: 1e-6 }, 'out');
    expectClose(finalStates.data, states, { relative: 1e-5, absolute: 1e-6 }, 'final states');
    if (initialStates) expectSame(initialStates.data, initial, 'initial states, which are inputs');
  });

  test('without sequences all tokens are one', () => {
    const problem = randomInputs(new Inputs(3), size, 20);
    const { out, finalStates } = mambaChunkScanCombined({ ...operationArgs(backend, problem), chunkSize: 64 });
    const whole = expectedResult(problem);
    expectClose(out.data, whole.y, { relative: 1e-5, absolute: 1e-6 }, 'out');
    expectClose(finalStates.data, whole.state, { relative: 1e-5, absolute: 1e-6 }, 'final states');
  });

  test('refuses what does not fit', () => {
    const problem = randomInputs(new Inputs(4), size, 20);
    const args = { ...operationArgs(backend, problem), chunkSize: 8 };
    expect(() => mambaChunkScanCombined({ ...operationArgs(backend, problem, true), chunkSize: 8 })).toThrow(
      ArgumentError,
    );
    expect(() => mambaChunkScanCombined({ ...args, cuSeqlens: hostIndices([0, 21]) })).toThrow(MetadataError);
    expect(() => mambaChunkScanCombined({ ...args, cuSeqlens: hostIndices([]) })).toThrow(MetadataError);
    expect(() => mambaChunkScanCombined({ ...args, initialStates: hostZeros([2, 4, 3, 5]) })).toThrow(ShapeError);
  });
});
