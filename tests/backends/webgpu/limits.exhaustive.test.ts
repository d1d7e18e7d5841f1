import { describe, test, vi } from 'vitest';
import { WEIGHT_DTYPES } from '../../../src/tensor/dtype.ts';
import { need } from '../../needs/needs.ts';
import { expectClose, indices } from '../suite/harness.ts';
import { Inputs } from '../suite/inputs.ts';
import { onBoth } from './small-bindings.ts';

vi.setConfig({ testTimeout: 900_000 });

const tolerance = { relative: 1e-4, absolute: 1e-4 };

describe.runIf(need('software-gpu'))('what is larger than a binding', () => {
  test.each(WEIGHT_DTYPES)('weights of %s lie in parts of some outputs', async (dtype) => {
    // Three to five parts, of which each has software compile kernels of its own.
    const outFeatures = { float32: 23, bfloat16: 43, float16: 43, int8: 75, int4: 90 }[dtype];
    const [T, inFeatures] = [3, 200];
    const [actual, expected] = await onBoth((backend) => {
      const inputs = new Inputs(1);
      const x = backend.tensor(inputs.normal(T * inFeatures), [T, inFeatures]);
      const weight = inputs.normal(outFeatures * inFeatures, 0, 0.1);
      const writer = backend.linearWeightWriter(outFeatures, inFeatures, dtype);
      // In blocks that do not end where parts do.
      for (let row = 0; row < outFeatures; row += 7) {
        writer.writeRows(row, weight.subarray(row * inFeatures, Math.min(row + 7, outFeatures) * inFeatures));
      }
      const w = writer.finish();
      const y = backend.linear(x, w, backend.tensor(inputs.normal(outFeatures), [outFeatures]));
      const rows = backend.embedding(indices(backend, [0, outFeatures - 1, outFeatures >> 1, outFeatures, -1]), w);
      return backend.read(y).then(async (values) => Float32Array.of(...values, ...(await backend.read(rows))));
    });
    expectClose(actual, expected, tolerance, 'y and rows');
  });

  test('activations lie in parts of some rows, where operations treat every row for itself', async () => {
    // Rows of different sizes: parts of one begin where those of the other do not.
    const [T, C, wide] = [21, 64, 70];
    const [actual, expected] = await onBoth(async (backend) => {
      const inputs = new Inputs(3);
      const normal = (...shape: number[]) => {
        return backend.tensor(inputs.normal(shape.reduce((a, b) => a * b, 1)), shape);
      };
      const matrix = (outFeatures: number, inFeatures: number) => {
        return backend.linearWeight(
          inputs.normal(outFeatures * inFeatures, 0, 0.1),
          outFeatures,
          inFeatures,
          'float32',
        );
      };
      const x = normal(T, C);
      const y = backend.linear(backend.rmsNorm(x, normal(C), 1e-5), matrix(wide, C), normal(wide));
      const gated = backend.activateAndMul(backend.mulColumns(y, normal(wide)), backend.mulScalar(y, 0.5), 'silu');
      const layout = { firstColumn: 0, groupSize: 35 };
      const sums = backend.groupSquareSums(gated, 2, layout);
      const normed = backend.scaleByGroupNorm(gated, sums, normal(wide), 1e-5, layout);
      const sum = backend.siluGate(backend.add(normed, y), backend.activate(gated, 'gelu'));
      const scaled = backend.scaleRows(
        sum,
        backend.groupSquareSums(sum, 1, { firstColumn: 0, groupSize: wide }),
        wide,
        1e-5,
      );
      const back = backend.linear(scaled, matrix(C, wide));
      const routed = backend.topKRouting(y, { topK: 3, scoring: 'softmax', renormalize: true });
      const values: number[] = [];
      for (const result of [scaled, backend.add(back, x), routed, backend.sliceRows(scaled, 3, 9)]) {
        values.push(...(await backend.read(result)));
      }
      return Float32Array.from(values);
    });
    expectClose(actual, expected, tolerance, 'results');
  });
});
