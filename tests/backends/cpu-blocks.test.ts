import { describe, expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { compileKernels } from '../../src/backends/cpu/kernels/kernels.ts';
import { variantOf } from '../../src/backends/cpu/kernels/product-forms.ts';
import { loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { CPU_BLOCK_FORMATS } from '../../src/backends/cpu/memory/block-weight.ts';
import { ShapeError } from '../../src/errors.ts';
import { BLOCK_FORMATS, type BlockFormat } from '../../src/tensor/block-formats.ts';
import { SeededRandom } from '../layers/seeded.ts';
import { blockValues, expectTableRows, someBlocks } from '../tensor/blocks.ts';

const FORMATS = [...CPU_BLOCK_FORMATS];
/** Largest quantised activation: of 7 bits where weights have a sign. With FP8 activations stay float32. */
const levels = (format: BlockFormat) =>
  format === 'F8_E4M3' ? Number.POSITIVE_INFINITY : format === 'Q8_0' || format === 'INT8_G128' ? 63 : 127;

describe.each(['dot', 'pairs', 'words'] as const)('blocks on cpu, products in the form %s', (form) => {
  const compiled = compileKernels(variantOf(form), form);
  if (compiled === undefined) throw new Error(`The engine does not compile ${form}.`);
  const backend = new CpuBackend(loadKernels(compiled));

  function weightOf(format: BlockFormat, bytes: Uint8Array, rows: number, columns: number) {
    const writer = backend.blockWeightWriter(rows, columns, format);
    const rowBytes = bytes.length / rows;
    // Later rows first.
    const half = Math.floor(rows / 2);
    writer.writeBlocks(half, bytes.subarray(half * rowBytes));
    writer.writeBlocks(0, bytes.subarray(0, half * rowBytes));
    return writer.finish();
  }

  const product = (x: Float32Array, rows: number, weight: ReturnType<typeof weightOf>) =>
    backend.read(backend.linear(backend.tensor(x, [rows, weight.inFeatures]), weight));

  test('F8_E4M3: every code is its value, subnormal ones too, in a product of one row or several', async () => {
    const [K, N] = [128, 256];
    // Output n has code n everywhere, and NaN's codes are 0.
    const bytes = new Uint8Array(132 * N);
    for (let n = 0; n < N; n++) {
      new DataView(bytes.buffer).setFloat32(132 * n, 1 + n / 1024, true);
      bytes.fill((n & 0x7f) === 0x7f ? 0 : n, 132 * n + 4, 132 * (n + 1));
    }
    const weight = weightOf('F8_E4M3', bytes, N, K);
    const values = blockValues('F8_E4M3', bytes);
    for (const T of [1, 3, 6]) {
      const x = new Float32Array(T * K);
      for (let t = 0; t < T; t++) x[t * K + 17 * t] = 1;
      const found = await product(x, T, weight);
      const expected = Float32Array.from({ length: T * N }, (_, i) => values[(i % N) * K]);
      expect(found.map((value) => value + 0)).toEqual(expected.map((value) => value + 0));
    }
  });

  describe.each(FORMATS)('%s', (format) => {
    test.each([
      [256, 16, 1],
      [256, 5, 2],
      [768, 35, 7],
      [512, 20, 40],
    ])('products of %d inputs, %d outputs and %d rows are as near as their activations', async (K, N, T) => {
      const bytes = someBlocks(format, N, K, K + N + T);
      const values = blockValues(format, bytes);
      const x = new SeededRandom(T).floats(T * K);
      const found = await product(x, T, weightOf(format, bytes, N, K));
      for (let t = 0; t < T; t++) {
        for (let n = 0; n < N; n++) {
          let exact = 0;
          let bound = 0;
          for (let begin = 0; begin < K; begin += 128) {
            const block = x.subarray(t * K + begin, t * K + begin + 128);
            const step = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / levels(format);
            for (const [k, value] of block.entries()) {
              const weight = values[n * K + begin + k];
              exact += value * weight;
              // Half a step of the activation, and the roundings of float32.
              bound += Math.abs(weight) * (step / 2 + 1e-5 * Math.abs(value));
            }
          }
          expect(Math.abs(found[t * N + n] - exact)).toBeLessThanOrEqual(bound + 1e-6);
        }
      }
    });

    test('a row has the same bits alone as among others', async () => {
      const [K, N, T] = [512, 37, 38];
      const weight = weightOf(format, someBlocks(format, N, K, 1), N, K);
      const x = new SeededRandom(2).floats(T * K);
      const together = await product(x, T, weight);
      for (const count of [1, 2, 5]) {
        for (let t = 0; t + count <= T; t += count) {
          const apart = await product(x.slice(t * K, (t + count) * K), count, weight);
          expect(apart).toEqual(together.slice(t * N, (t + count) * N));
        }
      }
    });

    test('rows of a table are the values that the format defines', async () => {
      const [K, N] = [512, 9];
      const bytes = someBlocks(format, N, K, 3);
      const table = weightOf(format, bytes, N, K);
      const rows = backend.embedding(backend.tensor(Int32Array.of(12, 18, 2, 10), [4]), table, 10);
      expectTableRows(await backend.read(rows), blockValues(format, bytes), [2, 8, undefined, 0]);
    });

    const { scales, blockBytes } = BLOCK_FORMATS[format];
    test.runIf(scales.length > 0)(
      'float16 scales of all sizes, subnormal ones and zeros among them, keep their values',
      async () => {
        const [K, N] = [1024, 5];
        const bytes = someBlocks(format, N, K, 4);
        const random = new SeededRandom(5);
        for (let begin = 0; begin < bytes.length; begin += blockBytes) {
          // Rows of small numbers, of zeros, and of all.
          const exponents = [2, 0, 12, 16, 31][Math.floor(begin / (bytes.length / N))];
          for (const at of scales) {
            const magnitude = exponents === 0 ? 0 : random.integer(1, exponents * 1024 - 1);
            new DataView(bytes.buffer).setUint16(begin + at, magnitude | (random.next() < 0.5 ? 0x8000 : 0), true);
          }
        }
        const rows = backend.embedding(
          backend.tensor(Int32Array.of(0, 1, 2, 3, 4), [N]),
          weightOf(format, bytes, N, K),
        );
        expect([...(await backend.read(rows))].map((value) => value + 0)).toEqual(
          [...blockValues(format, bytes)].map((value) => value + 0),
        );
      },
    );

    test('rows that are none are refused', () => {
      const writer = backend.blockWeightWriter(4, 256, format);
      const row = someBlocks(format, 1, 256, 1);
      expect(() => writer.writeBlocks(0, row.subarray(1))).toThrow(ShapeError);
      expect(() => writer.writeBlocks(4, row)).toThrow(ShapeError);
    });
  });
});
