import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { ExpertWeights } from '../../../src/backends/contract/experts.ts';
import type { LinearWeight } from '../../../src/backends/contract/linear.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { type GpuDevice, requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { ShapeError } from '../../../src/errors.ts';
import { BLOCK_FORMATS, type BlockFormat, blockRowBytes } from '../../../src/tensor/block-formats.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { largestDifference } from '../../numbers.ts';
import { few, grid } from '../../runs.ts';
import { blockValues, expectTableRows, someBlocks } from '../../tensor/blocks.ts';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const FORMATS = Object.keys(BLOCK_FORMATS) as BlockFormat[];
/** Products that take each kernel: rows, outputs, and inputs in multiples of the least that a format has. */
const PRODUCTS = [
  { inputs: 3, outputs: 20, rows: 1 },
  { inputs: 1, outputs: 5, rows: 3 },
  { inputs: 3, outputs: 35, rows: 12 },
  { inputs: 2, outputs: 70, rows: 65 },
];

describe.runIf(need('software-gpu'))('blocks on webgpu', () => {
  let gpu: GpuDevice;
  let backend: WebGpuBackend;
  beforeAll(async () => {
    gpu = await requestGpuDevice();
    backend = new WebGpuBackend(gpu);
  });
  afterAll(() => backend.dispose());

  /** A weight whose later rows come first. */
  function weightOf(format: BlockFormat, bytes: Uint8Array, rows: number, columns: number): LinearWeight {
    const writer = backend.blockWeightWriter(rows, columns, format);
    const half = Math.floor(rows / 2) * blockRowBytes(format, columns);
    writer.writeBlocks(Math.floor(rows / 2), bytes.subarray(half));
    writer.writeBlocks(0, bytes.subarray(0, half));
    return writer.finish();
  }

  test('of all formats are kept', () => {
    expect([...backend.blockFormats]).toEqual(FORMATS);
  });

  test.each(
    // Software takes seconds to compile the kernels of many rows.
    grid(FORMATS.flatMap((format) => few(PRODUCTS, 3).map((product) => ({ format, product })))),
  )(
    '$format: $product.rows rows times $product.outputs are the products of the values',
    async ({ format, product: { inputs, outputs: N, rows: T } }) => {
      const K = inputs * BLOCK_FORMATS[format].rowMultiple;
      const bytes = someBlocks(format, N, K, K + N + T);
      const x = new SeededRandom(T).floats(T * K);
      const weight = weightOf(format, bytes, N, K);
      const found = await backend.read(backend.linear(backend.tensor(x, [T, K]), weight));
      expectProducts(found, x, blockValues(format, bytes), { T, N, K });
    },
  );

  test.each(few(FORMATS, 2))('%s: rows that lie at odd places are multiplied one by one', async (format) => {
    const [T, N, K] = [2, 6, BLOCK_FORMATS[format].rowMultiple];
    const bytes = someBlocks(format, N, K, 4);
    const wide = new SeededRandom(5).floats(T * (K + 3));
    const [, columns] = backend.splitColumns(backend.tensor(wide, [T, K + 3]), [3, K]);
    const found = await backend.read(backend.linear(columns, weightOf(format, bytes, N, K)));
    const x = Float32Array.from({ length: T * K }, (_, i) => wide[Math.floor(i / K) * (K + 3) + 3 + (i % K)]);
    expectProducts(found, x, blockValues(format, bytes), { T, N, K });
  });

  describe.each(FORMATS)('%s', (format) => {
    const { rowMultiple, blockBytes, scales } = BLOCK_FORMATS[format];

    test('rows of a table are the values that the format defines', async () => {
      const [K, N] = [3 * rowMultiple, 9];
      const bytes = someBlocks(format, N, K, 3);
      // The least float16 there is: GPUs may take it for 0 where they convert it.
      for (const scale of scales) bytes.set([1, 0], 2 * blockRowBytes(format, K) + blockBytes + scale);
      const table = weightOf(format, bytes, N, K);
      const rows = backend.embedding(backend.tensor(Int32Array.of(12, 18, 2, 10), [4]), table, 10);
      expectTableRows(await backend.read(rows), blockValues(format, bytes), [2, 8, undefined, 0]);
    });

    test('take the memory of their file, within a twentieth', () => {
      const createBuffer = vi.spyOn(gpu.device, 'createBuffer');
      const [N, K] = [40, 3 * rowMultiple];
      weightOf(format, someBlocks(format, N, K, 6), N, K);
      const made = createBuffer.mock.calls.reduce((sum, [{ size }]) => sum + size, 0);
      createBuffer.mockRestore();
      expect(made).toBeLessThanOrEqual(1.05 * N * blockRowBytes(format, K));
    });

    test('rows that are none are refused', () => {
      const writer = backend.blockWeightWriter(4, 256, format);
      const row = someBlocks(format, 1, 256, 1);
      expect(() => writer.writeBlocks(0, row.subarray(1))).toThrow(ShapeError);
      expect(() => writer.writeBlocks(4, row)).toThrow(ShapeError);
      expect(() => backend.blockWeightWriter(4, rowMultiple / 2, format)).toThrow(ShapeError);
    });
  });

  describe.each(
    few(
      ['together', 'apart', 'in two formats'].flatMap((storage) =>
        [2, 40].flatMap((rows) => (['Q6_K', 'NVFP4'] as const).map((format) => ({ format, storage, rows }))),
      ),
    ),
  )('experts of $format, $storage, $rows rows', ({ format, storage, rows: T }) => {
    test('give what their values give', async () => {
      const [E, C, I] = [3, 256, 512];
      const other = storage === 'in two formats' ? 'Q4_K' : format;
      const formats = Array.from({ length: E }, (_, e) => (e === 1 ? other : format));
      const matrices = (N: number, K: number, seed: number) => {
        const blocks = formats.map((each, e) => someBlocks(each, N, K, seed + e));
        const together = storage === 'together' ? backend.expertBlockWriters(E, N, K, format) : undefined;
        const weights = blocks.map((bytes, e) => {
          if (!together) return weightOf(formats[e], bytes, N, K);
          together[e].writeBlocks(0, bytes);
          return together[e].finish();
        });
        return { weights, values: blocks.map((bytes, e) => blockValues(formats[e], bytes)) };
      };
      const [up, down] = [matrices(2 * I, C, 1), matrices(C, I, 8)];
      const x = new SeededRandom(1).floats(T * C);
      const routing = new SeededRandom(2).floats(T * E, 0, 1);
      const run = async (one: Backend, experts: readonly ExpertWeights[]) =>
        one.read(one.fusedMoe(one.tensor(x, [T, C]), one.tensor(routing, [T, E]), experts, 'silu', true));
      const reference = new ReferenceBackend();
      const expected = await run(
        reference,
        formats.map((_, e) => ({
          up: reference.linearWeight(up.values[e], 2 * I, C, 'float32'),
          down: reference.linearWeight(down.values[e], C, I, 'float32'),
        })),
      );
      const found = await run(
        backend,
        formats.map((_, e) => ({ up: up.weights[e], down: down.weights[e] })),
      );
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largestDifference(found, expected)).toBeLessThan(1e-5 * largest);
    });
  });
});

/** Every output is within the roundings of a float32 sum of the exact product. */
function expectProducts(
  found: Float32Array,
  x: Float32Array,
  weights: Float32Array,
  { T, N, K }: { readonly T: number; readonly N: number; readonly K: number },
): void {
  for (let t = 0; t < T; t++) {
    for (let n = 0; n < N; n++) {
      let exact = 0;
      let size = 0;
      for (let k = 0; k < K; k++) {
        const product = x[t * K + k] * weights[n * K + k];
        exact += product;
        size += Math.abs(product);
      }
      expect(Math.abs(found[t * N + n] - exact)).toBeLessThanOrEqual(K * 2 ** -24 * size);
    }
  }
}
