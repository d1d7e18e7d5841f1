import { describe, expect, test } from 'vitest';
import { MLP_ACTIVATIONS } from '../../../src/backends/contract/activations.ts';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { RoutingOptions } from '../../../src/backends/contract/experts.ts';
import type { LinearWeight } from '../../../src/backends/contract/linear.ts';
import { ArgumentError, ShapeError } from '../../../src/errors.ts';
import { WEIGHT_DTYPES, type WeightDType } from '../../../src/tensor/dtype.ts';
import { roundWeight } from '../../../src/tensor/quantize.ts';
import { grid } from '../../runs.ts';
import { linear } from '../oracle/dense.ts';
import * as oracle from '../oracle/feed-forward.ts';
import {
  type Demands,
  expectAgreement,
  expectClose,
  expectSame,
  type MakeBackend,
  stridedView,
  useBackend,
} from './harness.ts';
import { Inputs } from './inputs.ts';

/** Tests the operations of feed-forward layers and mixtures of experts. */
export function describeFeedForward(makeBackend: MakeBackend, demands: Demands): void {
  describe('feed-forward operations', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.dense;

    test.each(MLP_ACTIVATIONS)('%s, alone and as a gate, also from strided views', async (activation) => {
      const [T, C] = [3, 21];
      const inputs = new Inputs(1);
      const z = inputs.normal(T * C, 0, 3);
      z.set([0, -0, 30, -30, 90, -90, 1e-8, -1e-8]);
      const x = inputs.normal(T * C);
      const activated = [...z].map((value) => oracle.activation(activation, value));
      const gated = activated.map((value, i) => value * x[i]);
      const contiguous = (data: Float32Array) => backend().tensor(data, [T, C]);
      const strided = (data: Float32Array) => stridedView(backend(), data, T, C);
      for (const place of [contiguous, strided]) {
        expectClose(await backend().read(backend().activate(place(z), activation)), activated, tolerance, 'alone');
        const product = backend().activateAndMul(place(z), place(x), activation);
        expectClose(await backend().read(product), gated, tolerance, 'gate');
      }
    });

    test('concatColumns puts tensors and views side by side', async () => {
      const x = backend().tensor(
        Float32Array.from({ length: 12 }, (_, i) => i),
        [2, 6],
      );
      const [a, b, c] = backend().splitColumns(x, [1, 3, 2]);
      const joined = backend().concatColumns([c, x, a, b]);
      expect(joined.shape).toEqual([2, 12]);
      expectSame(
        await backend().read(joined),
        [4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9, 10, 11, 6, 7, 8, 9],
        'joined',
      );
      expectSame(await backend().read(backend().concatColumns([b])), [1, 2, 3, 7, 8, 9], 'one');
      expect(backend().concatColumns([backend().zeros([0, 2]), backend().zeros([0, 3])]).shape).toEqual([0, 5]);
      expect(() => backend().concatColumns([x, backend().zeros([3, 2])])).toThrow(ShapeError);
      expect(() => backend().concatColumns([])).toThrow(ShapeError);
    });

    test('mulScalar, also from strided views', async () => {
      const x = new Inputs(2).normal(4 * 7);
      const expected = x.map((value) => value * Math.fround(0.22));
      for (const rows of [backend().tensor(x, [4, 7]), stridedView(backend(), x, 4, 7)]) {
        expectClose(await backend().read(backend().mulScalar(rows, 0.22)), expected, tolerance, 'product');
      }
    });

    const routings: { E: number; options: RoutingOptions; bias?: boolean }[] = [
      { E: 4, options: { topK: 2, scoring: 'softmax', renormalize: true } },
      { E: 6, options: { topK: 6, scoring: 'softmax', renormalize: false, scale: 2 } },
      { E: 62, options: { topK: 8, scoring: 'softmax', renormalize: true } },
      { E: 128, options: { topK: 6, scoring: 'sigmoid', renormalize: true, scale: 2.5 }, bias: true },
      { E: 8, options: { topK: 3, scoring: 'sigmoid', renormalize: false, numGroups: 4, topKGroups: 2 }, bias: true },
      { E: 12, options: { topK: 2, scoring: 'softmax', renormalize: true, numGroups: 3, topKGroups: 1 } },
      { E: 4, options: { topK: 1, scoring: 'sigmoid', renormalize: true, numGroups: 4, topKGroups: 1 }, bias: true },
    ];
    test.each(routings)('routing among $E experts by $options', async ({ E, options, bias }) => {
      const T = 9;
      const inputs = new Inputs(E);
      const logits = inputs.normal(T * E, 0, 2);
      const correction = bias ? inputs.normal(E) : undefined;
      const expected = Array.from({ length: T }, (_, t) =>
        oracle.route([...logits.subarray(t * E, (t + 1) * E)], options, correction && [...correction]),
      );
      const biasTensor = correction && backend().tensor(correction, [E]);
      for (const rows of [backend().tensor(logits, [T, E]), stridedView(backend(), logits, T, E)]) {
        const routing = backend().topKRouting(rows, options, biasTensor);
        expect(routing.shape).toEqual([T, E]);
        expectClose(await backend().read(routing), expected.flat(), tolerance, 'weights');
      }
    });

    test('equal choices go to the first experts, and a bias moves the choice alone', async () => {
      const options = { topK: 2, scoring: 'softmax', renormalize: true } as const;
      const logits = backend().zeros([1, 4]);
      expectClose(await backend().read(backend().topKRouting(logits, options)), [0.5, 0.5, 0, 0], tolerance, 'equal');
      const bias = backend().tensor(Float32Array.of(-1, 0, 0, 1), [4]);
      const biased = backend().topKRouting(logits, options, bias);
      expectClose(await backend().read(biased), [0, 0.5, 0, 0.5], tolerance, 'biased');
    });

    // Few rows and many, also of odd sizes.
    const mixtures = WEIGHT_DTYPES.flatMap((dtype) => [
      ...[true, false].map((gated) => ({ T: 11, C: 40, I: 24, E: 5, dtype, gated })),
      { T: 90, C: 72, I: 136, E: 5, dtype, gated: true },
      { T: 40, C: 20, I: 12, E: 7, dtype, gated: false },
    ]);
    test.each(grid(mixtures))('a mixture of $E experts, $T rows, $dtype weights, gated: $gated', async (sizes) => {
      const { dtype, gated } = sizes;
      const { x, routing, experts, expected } = mixture(sizes);
      const quantized = dtype === 'int8' || dtype === 'int4';
      const weights = experts.map(({ up, down }) => ({
        up: backend().linearWeight(up, up.length / sizes.C, sizes.C, dtype),
        down: backend().linearWeight(down, sizes.C, sizes.I, dtype),
      }));
      const ups = writtenTogether(
        backend(),
        experts.map(({ up }) => up),
        sizes.C,
        dtype,
      );
      const downs = writtenTogether(
        backend(),
        experts.map(({ down }) => down),
        sizes.I,
        dtype,
      );
      const together = ups.map((up, e) => ({ up, down: downs[e] }));
      const run = async (rows: Float32Array, routes: Float32Array, expertWeights = weights) => {
        const T = rows.length / sizes.C;
        const out = backend().fusedMoe(
          stridedView(backend(), rows, T, sizes.C),
          stridedView(backend(), routes, T, sizes.E),
          expertWeights,
          'silu',
          gated,
        );
        return backend().read(out);
      };
      const whole = await run(x, routing);
      // Two layers, each as far from the oracle as a layer may be.
      const allowed = quantized ? demands.tolerances.quantized : tolerance;
      expectClose(whole, expected, { relative: 8 * allowed.relative, absolute: 8 * allowed.absolute }, 'mixture');
      expectSame(await run(x, routing, together), whole, 'written together');
      for (const t of [0, 1, 2, 3, sizes.T - 1]) {
        const row = (data: Float32Array, columns: number) => data.slice(t * columns, (t + 1) * columns);
        const alone = await run(row(x, sizes.C), row(routing, sizes.E));
        expectAgreement(alone, row(whole, sizes.C), demands, tolerance, `row ${t} alone`);
      }
    });

    test('what breaks the contract is refused', () => {
      const logits = backend().zeros([1, 6]);
      const route = (options: Partial<RoutingOptions>) => () =>
        backend().topKRouting(logits, { topK: 2, scoring: 'softmax', renormalize: true, ...options });
      expect(route({ topK: 7 })).toThrow(ArgumentError);
      expect(route({ topK: 0 })).toThrow(ArgumentError);
      expect(route({ numGroups: 4 })).toThrow(ArgumentError);
      expect(route({ numGroups: 3, topKGroups: 1, topK: 3 })).toThrow(ArgumentError);
      expect(route({ numGroups: 2, topKGroups: 3 })).toThrow(ArgumentError);
      const matrix = (rows: number, columns: number) =>
        backend().linearWeight(new Float32Array(rows * columns), rows, columns, 'float32');
      const expert = { up: matrix(8, 4), down: matrix(4, 8) };
      const x = backend().zeros([1, 4]);
      const mix = (experts: (typeof expert)[], gated: boolean) => () =>
        backend().fusedMoe(x, backend().zeros([1, experts.length]), experts, 'silu', gated);
      expect(mix([expert, expert], false)).not.toThrow();
      expect(mix([expert], true)).toThrow(ArgumentError);
      expect(mix([], false)).toThrow(ArgumentError);
      expect(mix([expert, { ...expert, down: matrix(5, 8) }], false)).toThrow(ArgumentError);
      expect(() => backend().fusedMoe(x, backend().zeros([1, 3]), [expert], 'silu', false)).toThrow(ShapeError);
      expect(() => backend().activateAndMul(x, backend().zeros([1, 5]), 'silu')).toThrow(ShapeError);
    });

    test('no rows', () => {
      const x = backend().zeros([0, 4]);
      expect(backend().mulScalar(x, 2).shape).toEqual([0, 4]);
      expect(backend().activate(x, 'gelu').shape).toEqual([0, 4]);
      expect(backend().activateAndMul(x, x, 'relu2').shape).toEqual([0, 4]);
      const options = { topK: 2, scoring: 'sigmoid', renormalize: true } as const;
      expect(backend().topKRouting(x, options).shape).toEqual([0, 4]);
    });
  });
}

/** The matrices of all experts, as a backend wants them written. */
function writtenTogether(
  backend: Backend,
  matrices: readonly Float32Array[],
  inFeatures: number,
  dtype: WeightDType,
): LinearWeight[] {
  const outFeatures = matrices[0].length / inFeatures;
  const writers =
    backend.expertWeightWriters?.(matrices.length, outFeatures, inFeatures, dtype) ??
    matrices.map(() => backend.linearWeightWriter(outFeatures, inFeatures, dtype));
  return matrices.map((values, e) => {
    const firstRow = Math.floor(outFeatures / 2);
    writers[e].writeRows(firstRow, values.subarray(firstRow * inFeatures));
    writers[e].writeRows(0, values.subarray(0, firstRow * inFeatures));
    return writers[e].finish();
  });
}

interface MixtureSizes {
  readonly T: number;
  readonly C: number;
  readonly I: number;
  readonly E: number;
  readonly gated: boolean;
  readonly dtype: WeightDType;
}

/** Experts, tokens that visit none, one or several of them, and what comes of it with weights as the dtype rounds them. */
function mixture({ T, C, I, E, gated, dtype }: MixtureSizes) {
  const inputs = new Inputs(C);
  const experts = Array.from({ length: E }, () => ({
    up: inputs.normal((gated ? 2 : 1) * I * C, 0, C ** -0.5),
    down: inputs.normal(C * I, 0, I ** -0.5),
  }));
  const rounded = (weight: Float32Array, columns: number) => {
    const values = weight.slice();
    roundWeight(values, columns, dtype);
    return values;
  };
  const roundedExperts = experts.map(({ up, down }) => ({ up: rounded(up, C), down: rounded(down, I) }));
  const x = inputs.normal(T * C);
  const routing = Float32Array.from({ length: T * E }, (_, i) => (i < E || inputs.boolean() ? 0 : inputs.uniform()));
  const expected = new Float64Array(T * C);
  for (let t = 0; t < T; t++) {
    const row = x.subarray(t * C, (t + 1) * C);
    for (const [e, { up, down }] of roundedExperts.entries()) {
      const hidden = linear(row, up, C, up.length / C);
      const activated = Float32Array.from({ length: I }, (_, i) =>
        gated ? oracle.activation('silu', hidden[i]) * hidden[I + i] : oracle.activation('silu', hidden[i]),
      );
      linear(activated, down, I, C).forEach((value, c) => {
        expected[t * C + c] += routing[t * E + e] * value;
      });
    }
  }
  return { x, routing, experts, expected };
}
