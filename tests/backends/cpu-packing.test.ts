import { describe, expect, test } from 'vitest';
import { compileKernels } from '../../src/backends/cpu/kernels/kernels.ts';
import { KERNEL_VARIANTS } from '../../src/backends/cpu/kernels/product-forms.ts';
import { loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { PackedWeight } from '../../src/backends/cpu/memory/packed-weight.ts';
import { roundToBfloat16 } from '../../src/tensor/float16.ts';
import { roundWeight } from '../../src/tensor/quantize.ts';
import { Inputs } from './suite/inputs.ts';

const DTYPES = ['float32', 'bfloat16', 'int8', 'int4'] as const;

/** Distributions of weights: ties between choices, values that float32 sums lose, and ordinary ones. */
const VALUES: Readonly<Record<string, (inputs: Inputs, column: number) => number>> = {
  normal: (inputs) => inputs.normal(1)[0],
  'as bfloat16 files hold them': (inputs) => roundToBfloat16(inputs.normal(1)[0] / 20),
  'mostly zeros': (inputs) => (inputs.uniform() < 0.9 ? 0 : inputs.normal(1)[0]),
  zeros: () => 0,
  'one per block': (_, column) => (column % 128 === 5 ? 1 : 0),
  ternary: (inputs) => inputs.integer(-1, 1),
  halves: (inputs) => (inputs.integer(-6, 6) + 0.5) / 4,
  positive: (inputs) => inputs.uniform(),
  outliers: (inputs) => inputs.normal(1)[0] ** 5,
  'other magnitudes in each part': (inputs, column) => inputs.normal(1)[0] * 10 ** -((column >> 5) & 3),
  tiny: (inputs) => inputs.normal(1)[0] * 1e-20,
  subnormal: (inputs) => inputs.normal(1)[0] * 1e-40,
  huge: (inputs) => inputs.normal(1)[0] * 1e30,
};

describe.each(KERNEL_VARIANTS)('packed weights, %s', (variant) => {
  const compiled = compileKernels(variant);
  if (compiled === undefined) throw new Error(`The engine does not compile ${variant}.`);
  const runtime = loadKernels(compiled);
  const { memory, kernels } = runtime;

  /** The rows as products see them. */
  function unpacked({ outFeatures, inFeatures, address, packing }: PackedWeight): Float32Array {
    return memory.scope(() => {
      const ids = memory.allocate(4 * outFeatures);
      const out = memory.allocate(4 * outFeatures * inFeatures);
      memory.floats.set(new Float32Array(Int32Array.from({ length: outFeatures }, (_, i) => i).buffer), ids / 4);
      const kind = DTYPES.indexOf(packing);
      kernels.embeddingRows(ids, outFeatures, 0, outFeatures, address, inFeatures, kind, out, 4 * inFeatures);
      return memory.floats.slice(out / 4, out / 4 + outFeatures * inFeatures);
    });
  }

  test.each(Object.entries(VALUES))('%s: the values are those of roundWeight, however rows come', (name, draw) => {
    const inputs = new Inputs(name.length);
    for (const [rows, columns] of [
      [37, 384],
      [20, 200],
      [5, 7],
    ]) {
      const values = Float32Array.from({ length: rows * columns }, (_, i) => draw(inputs, i % columns));
      for (const dtype of DTYPES) {
        const weight = new PackedWeight(runtime, rows, columns, dtype);
        for (let row = 0; row < rows; ) {
          const end = Math.min(rows, row + inputs.integer(1, 20));
          weight.writeRows(row, values.subarray(row * columns, end * columns));
          row = end;
        }
        const expected = values.slice();
        roundWeight(expected, columns, dtype);
        expect(unpacked(weight).map(withoutSign), `${dtype}, ${columns} columns`).toEqual(expected.map(withoutSign));
      }
    }
  });
});

/** -0 as 0. */
function withoutSign(value: number): number {
  return value + 0;
}
