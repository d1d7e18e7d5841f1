import { describe, expect, test } from 'vitest';
import { WEIGHT_DTYPES } from '../../../src/tensor/dtype.ts';
import { QUANT_BLOCK, roundWeight } from '../../../src/tensor/quantize.ts';
import { grid } from '../../runs.ts';
import * as oracle from '../oracle/dense.ts';
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

/** Tests linear layers and embeddings in every weight dtype, and the elementwise operations. */
export function describeDense(makeBackend: MakeBackend, demands: Demands): void {
  describe('dense operations', () => {
    const backend = useBackend(makeBackend);
    const tolerance = demands.tolerances.dense;

    const sizes = [
      [1, 1, 1],
      [1, 3, 5],
      [3, 64, 64],
      [2, 31, 33],
      [5, 100, 6],
      [1, 768, 3352],
      [70, 96, 130],
      [2, 1536, 768],
    ];
    const layers = sizes.flatMap(([T, inFeatures, outFeatures]) =>
      [false, true].map((bias) => ({ T, inFeatures, outFeatures, bias })),
    );
    test.each(grid(layers))('linear, $T rows of $inFeatures to $outFeatures, bias: $bias', async (layer) => {
      const { T, inFeatures, outFeatures } = layer;
      const inputs = new Inputs(inFeatures);
      const x = inputs.normal(T * inFeatures);
      const bias = layer.bias ? inputs.normal(outFeatures) : undefined;
      const weight = inputs.normal(outFeatures * inFeatures, 0, inFeatures ** -0.5);
      const w = backend().linearWeight(weight, outFeatures, inFeatures, 'float32');
      const b = bias && backend().tensor(bias, [outFeatures]);
      const expected = oracle.linear(x, weight, inFeatures, outFeatures, bias);
      const y = backend().linear(backend().tensor(x, [T, inFeatures]), w, b);
      expect(y.shape).toEqual([T, outFeatures]);
      expectClose(await backend().read(y), expected, tolerance, 'contiguous');
      const strided = backend().linear(stridedView(backend(), x, T, inFeatures), w, b);
      expectClose(await backend().read(strided), expected, tolerance, 'strided');
    });

    test.each(grid(WEIGHT_DTYPES.flatMap((dtype) => [32, 64, 100, 7].map((inFeatures) => ({ dtype, inFeatures })))))(
      '$dtype weights of $inFeatures columns act as their rounded values',
      async ({ dtype, inFeatures }) => {
        const [T, outFeatures] = [4, 21];
        const inputs = new Inputs(inFeatures);
        const x = backend().tensor(inputs.normal(T * inFeatures), [T, inFeatures]);
        const weight = inputs.normal(outFeatures * inFeatures, 0, inFeatures ** -0.5);
        const rounded = weight.slice();
        roundWeight(rounded, inFeatures, dtype);
        const actual = backend().linearWeight(weight, outFeatures, inFeatures, dtype);
        expect([actual.outFeatures, actual.inFeatures, actual.dtype]).toEqual([outFeatures, inFeatures, dtype]);
        const reference = backend().linearWeight(rounded, outFeatures, inFeatures, 'float32');
        const y = await backend().read(backend().linear(x, actual));
        const expected = await backend().read(backend().linear(x, reference));
        const quantized = dtype === 'int8' || dtype === 'int4';
        expectClose(y, expected, quantized ? demands.tolerances.quantized : tolerance, 'linear');
        const ids = indices(backend(), [0, 20, 7, 7]);
        const rows = await backend().read(backend().embedding(ids, actual));
        expectClose(rows, oracle.embedding([0, 20, 7, 7], rounded, inFeatures, 0), tolerance, 'embedding');
      },
    );

    // One-hot inputs read single weights. int8 is within half a step of max/127; int4 may clip, but over a block it
    // loses no more than steps of max/7 would.
    // Kernels may take another way for one row, for a few and for many, and for outputs that are left over.
    test.each(grid(WEIGHT_DTYPES.flatMap((dtype) => [40, 150].map((outFeatures) => ({ dtype, outFeatures })))))(
      '$dtype, $outFeatures outputs: a row gives the same alone, among a few and among many',
      async ({ dtype, outFeatures }) => {
        const [T, inFeatures] = [70, 300];
        const inputs = new Inputs(outFeatures);
        const x = inputs.normal(T * inFeatures);
        const weight = inputs.normal(outFeatures * inFeatures, 0, inFeatures ** -0.5);
        const w = backend().linearWeight(weight, outFeatures, inFeatures, dtype);
        const rows = async (begin: number, count: number) => {
          const part = x.slice(begin * inFeatures, (begin + count) * inFeatures);
          return await backend().read(backend().linear(backend().tensor(part, [count, inFeatures]), w));
        };
        const whole = await rows(0, T);
        for (const count of [1, 2, 5, 32, 33]) {
          const begin = T - count - 3;
          const expected = whole.subarray(begin * outFeatures, (begin + count) * outFeatures);
          expectAgreement(await rows(begin, count), expected, demands, demands.tolerances.quantized, `${count} rows`);
        }
      },
    );

    test('int8 and int4 weights lie near the given ones', async () => {
      const [outFeatures, inFeatures] = [9, 80];
      const weight = new Inputs(5).normal(outFeatures * inFeatures);
      const eye = new Float32Array(inFeatures ** 2);
      for (let i = 0; i < inFeatures; i++) eye[i * inFeatures + i] = 1;
      for (const [dtype, levels] of [
        ['int8', 127],
        ['int4', 7],
      ] as const) {
        const w = backend().linearWeight(weight, outFeatures, inFeatures, dtype);
        const columns = await backend().read(backend().linear(backend().tensor(eye, [inFeatures, inFeatures]), w));
        for (let o = 0; o < outFeatures; o++) {
          for (let begin = 0; begin < inFeatures; begin += QUANT_BLOCK) {
            const block = [
              ...weight.subarray(o * inFeatures + begin, o * inFeatures + Math.min(begin + QUANT_BLOCK, inFeatures)),
            ];
            const errors = block.map((value, i) => columns[(begin + i) * outFeatures + o] - value);
            const halfStep = Math.max(...block.map(Math.abs)) / levels / 2;
            const meanSquare = errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length;
            expect(Math.sqrt(meanSquare)).toBeLessThanOrEqual(halfStep * (1 + 1e-5));
            if (dtype === 'int8') expect(Math.max(...errors.map(Math.abs))).toBeLessThanOrEqual(halfStep * (1 + 1e-5));
          }
        }
      }
    });

    test.each(WEIGHT_DTYPES)('%s rows that come in blocks, in any order, make the same matrix', async (dtype) => {
      const [outFeatures, inFeatures] = [37, 40];
      const inputs = new Inputs(12);
      const weight = inputs.normal(outFeatures * inFeatures, 0, inFeatures ** -0.5);
      const x = backend().tensor(inputs.normal(3 * inFeatures), [3, inFeatures]);
      const whole = backend().linearWeight(weight, outFeatures, inFeatures, dtype);
      const writer = backend().linearWeightWriter(outFeatures, inFeatures, dtype);
      const block = new Float32Array(18 * inFeatures);
      for (const [begin, end] of [
        [20, 37],
        [0, 3],
        [3, 3],
        [3, 20],
      ]) {
        const rows = block.subarray(0, (end - begin) * inFeatures);
        rows.set(weight.subarray(begin * inFeatures, end * inFeatures));
        writer.writeRows(begin, rows);
        block.fill(7);
      }
      const written = writer.finish();
      expect([written.outFeatures, written.inFeatures, written.dtype]).toEqual([outFeatures, inFeatures, dtype]);
      const products = await backend().read(backend().linear(x, written));
      expectSame(products, await backend().read(backend().linear(x, whole)), 'linear');
    });

    test.each(WEIGHT_DTYPES)('%s rows that never come are zeros', async (dtype) => {
      const writer = backend().linearWeightWriter(19, 6, dtype);
      writer.writeRows(1, new Inputs(13).normal(6));
      const weight = writer.finish();
      const y = await backend().read(backend().linear(backend().tensor(new Float32Array(6).fill(1), [1, 6]), weight));
      expect([...y].map((value) => value !== 0)).toEqual(Array.from({ length: 19 }, (_, row) => row === 1));
      const rows = await backend().read(backend().embedding(indices(backend(), [0, 18]), weight));
      expect([...rows].every((value) => value === 0)).toBe(true);
    });

    test('linearWeight copies: the array may be reused', async () => {
      const weight = Float32Array.from([1, 2, 3, 4]);
      const w = backend().linearWeight(weight, 2, 2, 'float32');
      weight.fill(0);
      const y = backend().linear(backend().tensor(Float32Array.from([1, 10]), [1, 2]), w);
      expectSame(await backend().read(y), [21, 43], 'y');
    });

    test('embedding of a part of the vocabulary gives zeros for ids of other parts', async () => {
      const table = new Inputs(6).normal(5 * 6);
      const w = backend().linearWeight(table, 5, 6, 'float32');
      for (const firstRow of [0, 3, 100]) {
        const ids = [0, 1, 2, 3, 4, 5, 7, 8, 99, 100, 104, 105, 3];
        const out = await backend().read(backend().embedding(indices(backend(), ids), w, firstRow));
        expectSame(out, oracle.embedding(ids, table, 6, firstRow), `rows from ${firstRow}`);
      }
    });

    test('parts of a vocabulary sum to the whole', async () => {
      const table = new Inputs(7).normal(12 * 4);
      const ids = [11, 0, 3, 4, 7, 8, 11];
      const whole = backend().embedding(indices(backend(), ids), backend().linearWeight(table, 12, 4, 'float32'));
      const parts = [0, 4, 8].map((firstRow) => {
        const part = backend().linearWeight(table.slice(firstRow * 4, (firstRow + 4) * 4), 4, 4, 'float32');
        return backend().embedding(indices(backend(), ids), part, firstRow);
      });
      const sum = parts.reduce((total, part) => backend().add(total, part));
      expectSame(await backend().read(sum), await backend().read(whole), 'sum');
    });

    test('gatherRows, add and mulColumns, also from strided views', async () => {
      const [T, C] = [6, 9];
      const inputs = new Inputs(8);
      const [x, y, v] = [inputs.normal(T * C), inputs.normal(T * C), inputs.normal(C)];
      const named = [5, 0, 5, 2, 3, 3, 3];
      const gathered = named.flatMap((row) => [...x.subarray(row * C, (row + 1) * C)]);
      const sum = x.map((value, i) => value + y[i]);
      const product = x.map((value, i) => value * v[i % C]);
      const contiguous = (data: Float32Array) => backend().tensor(data, [T, C]);
      const strided = (data: Float32Array) => stridedView(backend(), data, T, C);
      for (const place of [contiguous, strided]) {
        const rows = backend().gatherRows(place(x), indices(backend(), named));
        expect(rows.shape).toEqual([named.length, C]);
        expectSame(await backend().read(rows), gathered, 'gatherRows');
        expectSame(await backend().read(backend().add(place(x), place(y))), sum, 'add');
        const scaled = backend().mulColumns(place(x), backend().tensor(v, [C]));
        expectSame(await backend().read(scaled), product, 'mulColumns');
      }
    });

    test('scatterRows, also from and into strided views', async () => {
      const [R, T, C] = [3, 6, 9];
      const inputs = new Inputs(9);
      const [x, into] = [inputs.normal(R * C), inputs.normal(T * C)];
      const named = [5, 0, 2];
      const expected = into.slice();
      for (const [r, row] of named.entries()) expected.set(x.subarray(r * C, (r + 1) * C), row * C);
      for (const isStrided of [false, true]) {
        const place = (data: Float32Array, rows: number) =>
          isStrided ? stridedView(backend(), data, rows, C) : backend().tensor(data, [rows, C]);
        const target = place(into, T);
        backend().scatterRows(place(x, R), indices(backend(), named), target);
        expectSame(await backend().read(target), expected, 'scatterRows');
      }
    });

    test('no rows', () => {
      const w = backend().linearWeight(new Float32Array(6), 3, 2, 'float32');
      const x = backend().zeros([0, 2]);
      expect(backend().linear(x, w, backend().zeros([3])).shape).toEqual([0, 3]);
      expect(backend().embedding(indices(backend(), []), w).shape).toEqual([0, 2]);
      expect(backend().gatherRows(x, indices(backend(), [])).shape).toEqual([0, 2]);
      expect(backend().add(x, x).shape).toEqual([0, 2]);
      expect(backend().mulColumns(x, backend().zeros([2])).shape).toEqual([0, 2]);
    });
  });
}
