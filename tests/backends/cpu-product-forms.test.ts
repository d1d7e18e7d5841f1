import { describe, expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { PRODUCT_FORMS, type ProductForm } from '../../src/backends/cpu/kernels/product-forms.ts';
import { compileFastestKernels, fastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import type { WeightDType } from '../../src/tensor/dtype.ts';
import { SeededRandom } from '../layers/seeded.ts';

const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 33, 40];
/** Odd numbers of panels, rows that end within a block or a part, and a whole number of both. */
const SHAPES = [
  { outputs: 40, inputs: 160 },
  { outputs: 16, inputs: 515 },
  { outputs: 272, inputs: 256 },
];

const backends = new Map<ProductForm, CpuBackend>();
function backendOf(form: ProductForm): CpuBackend {
  const backend = backends.get(form) ?? new CpuBackend(loadKernels(compileFastestKernels(undefined, form)));
  backends.set(form, backend);
  return backend;
}

async function product(
  form: ProductForm,
  dtype: WeightDType,
  weights: Float32Array,
  x: Float32Array,
  rows: number,
): Promise<Float32Array> {
  const backend = backendOf(form);
  const inputs = x.length / rows;
  const weight = backend.linearWeight(weights, weights.length / inputs, inputs, dtype);
  return backend.read(backend.linear(backend.tensor(x, [rows, inputs]), weight));
}

describe('forms of products', () => {
  /** Multiply-adds are fused in relaxed forms, and not in the others. */
  const ALIKE = [
    ['dot', 'dot-narrow', 'pairs', 'pairs-narrow'],
    ['words', 'words-narrow'],
  ] as const;

  test.each(['float32', 'bfloat16', 'int8', 'int4'] as const)('%s: the same bits in every form', async (dtype) => {
    const random = new SeededRandom(1);
    for (const { outputs, inputs } of SHAPES) {
      const weights = random.floats(outputs * inputs, -1, 1);
      for (const rows of ROWS) {
        const x = random.floats(rows * inputs, -3, 3);
        for (const [first, ...others] of ALIKE) {
          const expected = await product(first, dtype, weights, x, rows);
          for (const form of others) expect(await product(form, dtype, weights, x, rows), form).toEqual(expected);
        }
      }
    }
  });

  test.each([
    { dtype: 'int8', least: -127, greatest: 127 },
    { dtype: 'int4', least: -120, greatest: 105 },
  ] as const)('$dtype: exact where all integers are the largest', async ({ dtype, least, greatest }) => {
    // Scales are 1, and sums are below 2^24: fused or not makes no difference.
    const [outputs, inputs] = [32, 256];
    for (const [weightAt, xAt] of [
      [(k: number) => (k % 32 === 0 ? greatest : least), () => 63],
      [(k: number) => (k % 32 === 0 ? least : greatest), () => 63],
      [(k: number) => (k % 32 === 0 ? greatest : least), (k: number) => (k % 128 === 0 ? 63 : -63)],
      [(k: number) => (k & 1 ? greatest : least), (k: number) => (k & 1 ? 63 : -63)],
      [(k: number) => (k & 2 ? greatest : least), (k: number) => (k & 2 ? -63 : 63)],
    ] as const) {
      const weights = Float32Array.from({ length: outputs * inputs }, (_, i) => weightAt(i % inputs));
      let sum = 0;
      for (let k = 0; k < inputs; k++) sum += weightAt(k) * xAt(k);
      for (const rows of [1, 2, 7, 12, 40]) {
        const x = Float32Array.from({ length: rows * inputs }, (_, i) => xAt(i % inputs));
        for (const form of PRODUCT_FORMS) {
          expect(await product(form, dtype, weights, x, rows), form).toEqual(
            new Float32Array(rows * outputs).fill(sum),
          );
        }
      }
    }
  });
});

describe('the choice', () => {
  test('is made once', () => {
    expect(fastestKernels()).toBe(fastestKernels());
    expect(PRODUCT_FORMS).toContain(fastestKernels().forms.prompt);
    expect(PRODUCT_FORMS).toContain(fastestKernels().forms.decode);
  });

  test('is what was asked for', () => {
    expect(fastestKernels([], 'words').forms).toEqual({ prompt: 'words', decode: 'words' });
  });
});
