import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { ArgumentError, MetadataError, ShapeError } from '../../src/errors.ts';
import * as ops from '../../src/ops.ts';
import {
  activate,
  activateAndMul,
  flashAttnVarlenFunc,
  fusedMoe,
  hostIndices,
  hostLinearWeight,
  hostTensor,
  hostZeros,
  linear,
  mambaChunkScanCombined,
  rmsNormGated,
  topKRouting,
} from '../../src/ops.ts';
import { attention } from './oracle/attention.ts';
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

test.each([
  ...['causalConv1dFn', 'causalConv1dUpdate', 'mambaChunkScan', 'selectiveStateUpdate', 'logDecaySums', 'rmsNorm'],
  ...['rotaryTable', 'rotaryEmbedding', 'reshapeAndCache', 'pagedAttention'],
  ...['linear', 'activate', 'activateAndMul', 'topKRouting', 'fusedMoe'],
] as const)('%s is what the reference backend runs', (name) => {
  expect(Object.entries(ops)).toContainEqual([name, Object.entries(backend).find(([key]) => key === name)?.[1]]);
});

describe('flashAttnVarlenFunc', () => {
  const [H, Hkv, D] = [6, 2, 8];
  const close = { relative: 1e-5, absolute: 1e-6 };

  /** Queries of the last tokens, keys and values of all, and what attention gives, sequence by sequence. */
  function problem(queries: readonly number[], keys: readonly number[], scale = D ** -0.5) {
    const inputs = new Inputs(7);
    const sequences = queries.map((rows, s) => ({
      q: inputs.normal(rows * H * D),
      k: inputs.normal(keys[s] * Hkv * D),
      v: inputs.normal(keys[s] * Hkv * D),
    }));
    const packed = (name: 'q' | 'k' | 'v', heads: number) => {
      const data = sequences.flatMap((sequence) => [...sequence[name]]);
      return hostTensor(data, [data.length / (heads * D), heads, D]);
    };
    const expected = sequences.flatMap(({ q: query, k, v: values }) => [
      ...attention({ heads: H, kvHeads: Hkv, headDim: D, scale, query, keys: k, values }),
    ]);
    return { q: packed('q', H), k: packed('k', Hkv), v: packed('v', Hkv), expected };
  }

  test('several sequences, one of them empty', () => {
    const { expected, ...qkv } = problem([5, 0, 1, 40], [5, 0, 1, 40]);
    const out = flashAttnVarlenFunc({ ...qkv, cuSeqlensQ: hostIndices([0, 5, 5, 6, 46]) });
    expect(out.shape).toEqual([46, H, D]);
    expectClose(out.data, expected, close, 'out');
  });

  test('fewer queries than keys: they are the last', () => {
    const { expected, ...qkv } = problem([2, 1], [9, 4], 0.3);
    const cuSeqlensK = hostIndices([0, 9, 13]);
    const out = flashAttnVarlenFunc({ ...qkv, cuSeqlensQ: hostIndices([0, 2, 3]), cuSeqlensK, softmaxScale: 0.3 });
    expectClose(out.data, expected, close, 'out');
  });

  test('without sequences all tokens are one', () => {
    const { expected, ...qkv } = problem([12], [12]);
    expectClose(flashAttnVarlenFunc(qkv).data, expected, close, 'out');
  });

  test('refuses what does not fit', () => {
    const { q, k, v } = problem([4], [4]);
    expect(() => flashAttnVarlenFunc({ q, k, v: hostZeros([4, Hkv, 1]) })).toThrow(ShapeError);
    expect(() => flashAttnVarlenFunc({ q: hostZeros([4, H * D]), k, v })).toThrow(ArgumentError);
    expect(() => flashAttnVarlenFunc({ q: hostZeros([4, 5, D]), k, v })).toThrow(ArgumentError);
    expect(() => flashAttnVarlenFunc({ q, k, v, cuSeqlensQ: hostIndices([0, 5]) })).toThrow(MetadataError);
    expect(() => flashAttnVarlenFunc({ q, k, v, cuSeqlensK: hostIndices([0, 1, 4]) })).toThrow(MetadataError);
    // More queries than keys.
    expect(() => flashAttnVarlenFunc({ q: hostZeros([5, H, D]), k, v })).toThrow(MetadataError);
  });
});

test('a mixture of experts is the weighted sum of those that a token visits', () => {
  const [T, C, I, E] = [5, 6, 4, 3];
  const inputs = new Inputs(11);
  const x = hostTensor(inputs.normal(T * C), [T, C]);
  const routing = topKRouting(hostTensor(inputs.normal(T * E), [T, E]), {
    topK: 2,
    scoring: 'softmax',
    renormalize: true,
  });
  const matrices = Array.from({ length: E }, () => ({
    gate: inputs.normal(I * C),
    value: inputs.normal(I * C),
    down: inputs.normal(C * I),
  }));
  const experts = matrices.map(({ gate, value, down }) => ({
    up: hostLinearWeight([...gate, ...value], 2 * I, C),
    down: hostLinearWeight(down, C, I),
  }));
  const each = matrices.map(({ gate, value, down }) => {
    const hidden = activateAndMul(
      linear(x, hostLinearWeight(gate, I, C)),
      linear(x, hostLinearWeight(value, I, C)),
      'silu',
    );
    return linear(hidden, hostLinearWeight(down, C, I)).data;
  });
  const expected = Float64Array.from({ length: T * C }, (_, i) =>
    each.reduce((sum, y, e) => sum + routing.data[Math.floor(i / C) * E + e] * y[i], 0),
  );
  expectClose(fusedMoe(x, routing, experts, 'silu', true).data, expected, tolerance, 'sum');
});

test('a weight on the host holds what its dtype can', () => {
  const weight = hostLinearWeight([1 / 3], 1, 1, 'bfloat16');
  expect(linear(hostTensor([1], [1, 1]), weight).data[0]).toBe(0.333984375);
  expect(activate(hostTensor([-2, 3], [1, 2]), 'relu2').data).toEqual(Float32Array.of(0, 9));
  expect(() => hostLinearWeight([1, 2, 3], 2, 2)).toThrow(ShapeError);
});
