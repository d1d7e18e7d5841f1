import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { grid } from '../../runs.ts';
import { type GatedNormProblem, gatedNorm, silu } from '../oracle/norm.ts';
import { type Demands, expectClose, expectSame, type MakeBackend, stridedView, useBackend } from './harness.ts';
import { Inputs } from './inputs.ts';

/**
 * Tests the norms and the gate. Cases: vLLM `tests/kernels/mamba/test_mamba_mixer2.py`, state-spaces/mamba
 * `tests/ops/triton/test_layernorm_gated.py`, and more.
 */
export function describeNorms(makeBackend: MakeBackend, demands: Demands): void {
  describe('norms', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.norm;

    const shapes = [
      [64, 64],
      [64, 32],
      [64, 16],
      [100, 20],
      [7, 1],
      [1, 1],
      [2048, 2048],
      [2048, 64],
      [4096, 4096],
    ];
    const variants = shapes.flatMap(([columns, groupSize]) =>
      [1e-6, 1e-5, 0.5].flatMap((eps) =>
        [false, true].flatMap((normBeforeGate) =>
          [false, true].map((gated) => ({ columns, groupSize, eps, normBeforeGate, gated })),
        ),
      ),
    );
    test.each(grid(variants))(
      'gated norm of $columns columns in groups of $groupSize, eps $eps, norm before gate: $normBeforeGate, gate: $gated',
      async ({ columns, groupSize, eps, normBeforeGate, gated }) => {
        const problem = randomProblem(new Inputs(columns), columns, groupSize, eps, normBeforeGate, gated);
        const actual = await backend().read(composedNorm(backend(), problem));
        expectClose(actual, gatedNorm(problem), tolerance, 'norm');
      },
    );

    // Ranks hold equal parts of the row, whose groups may straddle them; they sum their squares.
    const shards = [
      { columns: 64, groupSize: 64 },
      { columns: 64, groupSize: 32 },
      { columns: 64, groupSize: 16 },
      { columns: 100, groupSize: 20 },
      { columns: 60, groupSize: 60 },
      { columns: 60, groupSize: 4 },
      { columns: 120, groupSize: 24 },
      { columns: 120, groupSize: 3 },
    ].flatMap((size) =>
      [2, 3, 4, 5].filter((ranks) => size.columns % ranks === 0).map((ranks) => ({ ...size, ranks })),
    );
    test.each(grid(shards))(
      '$ranks parts of $columns columns in groups of $groupSize make the whole',
      async (shard) => {
        const { columns, groupSize, ranks } = shard;
        const problem = randomProblem(new Inputs(ranks), columns, groupSize, 1e-5, false, true);
        const whole = await backend().read(composedNorm(backend(), problem));
        expectClose(await shardedNorm(backend(), problem, ranks), gatedNorm(problem), tolerance, 'parts');
        expectClose(await shardedNorm(backend(), problem, ranks), whole, tolerance, 'parts against the whole');
      },
    );

    test('square sums of groups that a part does not hold are 0', async () => {
      const v = backend().tensor(Float32Array.from([1, 2, 3, 4, 5, 6]), [2, 3]);
      const sums = backend().groupSquareSums(v, 4, { firstColumn: 3, groupSize: 2 });
      expect(sums.shape).toEqual([2, 4]);
      expectClose(await backend().read(sums), [0, 1, 4 + 9, 0, 0, 16, 25 + 36, 0], tolerance, 'square sums');
    });

    test.each([1, 5, 64, 768, 2048])('rmsNorm of %i columns', async (columns) => {
      const problem = randomProblem(new Inputs(columns), columns, columns, 1e-5, false, false);
      const rows = problem.x.length / columns;
      const weight = backend().tensor(problem.weight, [columns]);
      const expected = gatedNorm(problem);
      const plain = backend().rmsNorm(backend().tensor(problem.x, [rows, columns]), weight, 1e-5);
      expectClose(await backend().read(plain), expected, tolerance, 'contiguous');
      const strided = backend().rmsNorm(stridedView(backend(), problem.x, rows, columns), weight, 1e-5);
      expectClose(await backend().read(strided), expected, tolerance, 'strided');
    });

    test('rows of zeros, of tiny and of huge values stay finite', async () => {
      const x = Float32Array.from([0, 0, 0, 1e-18, -1e-18, 1e-18, 1e15, -1e15, 1e15]);
      const weight = new Float32Array(3).fill(1);
      const out = backend().rmsNorm(backend().tensor(x, [3, 3]), backend().tensor(weight, [3]), 1e-5);
      const problem = { columns: 3, x, weight, eps: 1e-5, groupSize: 3, normBeforeGate: false };
      expectClose(await backend().read(out), gatedNorm(problem), tolerance, 'out');
    });

    test('siluGate, also from strided views', async () => {
      const inputs = new Inputs(3);
      const [x, z] = [inputs.normal(9 * 31), inputs.normal(9 * 31, 0, 3)];
      const expected = x.map((value, i) => value * silu(z[i]));
      const contiguous = backend().siluGate(backend().tensor(x, [9, 31]), backend().tensor(z, [9, 31]));
      expectClose(await backend().read(contiguous), expected, tolerance, 'contiguous');
      const strided = backend().siluGate(stridedView(backend(), x, 9, 31), stridedView(backend(), z, 9, 31));
      expectClose(await backend().read(strided), expected, tolerance, 'strided');
    });

    test('siluGate far from 0 neither overflows nor gives NaN', async () => {
      const z = Float32Array.from([-1e4, -100, -90, 0, 90, 100, 1e4]);
      const ones = new Float32Array(7).fill(1);
      const out = backend().siluGate(backend().tensor(ones, [1, 7]), backend().tensor(z, [1, 7]));
      expectClose(await backend().read(out), [0, 0, 0, 0, 90, 100, 1e4], tolerance, 'gate');
    });

    test('no rows', async () => {
      const weight = backend().zeros([6]);
      const layout = { firstColumn: 0, groupSize: 3 };
      const x = backend().zeros([0, 6]);
      const sums = backend().groupSquareSums(x, 2, layout);
      expectSame(await backend().read(sums), [], 'square sums');
      expect(backend().scaleByGroupNorm(x, sums, weight, 1e-5, layout).shape).toEqual([0, 6]);
      expect(backend().rmsNorm(x, weight, 1e-5).shape).toEqual([0, 6]);
      expect(backend().siluGate(x, x).shape).toEqual([0, 6]);
    });
  });
}

function randomProblem(
  inputs: Inputs,
  columns: number,
  groupSize: number,
  eps: number,
  normBeforeGate: boolean,
  gated: boolean,
): GatedNormProblem {
  const rows = columns > 1000 ? 5 : 16;
  return {
    columns,
    x: inputs.normal(rows * columns),
    z: gated ? inputs.normal(rows * columns) : undefined,
    weight: inputs.normal(columns),
    eps,
    groupSize,
    normBeforeGate,
  };
}

/** The gated norm of a whole row from the backend's operations. */
function composedNorm(backend: Backend, problem: GatedNormProblem): Tensor {
  const { columns, x, z, weight, eps, groupSize, normBeforeGate } = problem;
  const shape = [x.length / columns, columns];
  const layout = { firstColumn: 0, groupSize };
  const gate = z && backend.tensor(z, shape);
  const input = backend.tensor(x, shape);
  const v = gate && !normBeforeGate ? backend.siluGate(input, gate) : input;
  const sums = backend.groupSquareSums(v, columns / groupSize, layout);
  const normed = backend.scaleByGroupNorm(v, sums, backend.tensor(weight, [columns]), eps, layout);
  return gate && normBeforeGate ? backend.siluGate(normed, gate) : normed;
}

/** The same with the columns divided among ranks, which exchange nothing but their square sums. */
async function shardedNorm(backend: Backend, problem: GatedNormProblem, ranks: number): Promise<Float32Array> {
  const { columns, x, z = new Float32Array(x.length), weight, eps, groupSize } = problem;
  const rows = x.length / columns;
  const part = columns / ranks;
  const sizes = Array.from({ length: ranks }, () => part);
  const xs = backend.splitColumns(backend.tensor(x, [rows, columns]), sizes);
  const zs = backend.splitColumns(backend.tensor(z, [rows, columns]), sizes);
  const gated = xs.map((own, rank) => backend.siluGate(own, zs[rank]));
  const layouts = sizes.map((_, rank) => ({ firstColumn: rank * part, groupSize }));
  const sums = gated
    .map((v, rank) => backend.groupSquareSums(v, columns / groupSize, layouts[rank]))
    .reduce((sum, own) => backend.add(sum, own));
  const out = new Float32Array(x.length);
  for (const [rank, v] of gated.entries()) {
    const scales = backend.tensor(weight.slice(rank * part, (rank + 1) * part), [part]);
    const own = await backend.read(backend.scaleByGroupNorm(v, sums, scales, eps, layouts[rank]));
    for (let t = 0; t < rows; t++) out.set(own.subarray(t * part, (t + 1) * part), t * columns + rank * part);
  }
  return out;
}
