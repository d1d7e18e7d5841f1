import { afterAll, afterEach, assert, beforeAll, describe, expect, test, vi } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import { leastTime } from '../../../src/backends/cuda/ops/linear.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { someBlocks } from '../../tensor/blocks.ts';
import { expectSame } from '../suite/harness.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';
import { describeFusions } from './fusions.ts';
import { describeMatmulPrecision } from './matmul-precision.ts';
import { describeRowBits } from './row-bits.ts';

vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

describe.runIf(need('g++'))('cuda, emulated with what only Hopper has', () => {
  let driver: EmulatedDriver | undefined;
  beforeAll(async () => {
    process.env.EMULATED_CAPABILITY = '90';
    process.env.EMULATED_SHARED_BYTES = '232448';
    driver = await buildEmulatedDriver(['FLOAT32', 'FLOAT16', 'BFLOAT16', 'INT8_G128', 'INT4_G32', 'Q4_K', 'Q6_K']);
  });
  afterAll(() => {
    delete process.env.EMULATED_CAPABILITY;
    delete process.env.EMULATED_SHARED_BYTES;
    driver?.dispose();
  });
  const makeBackend = () => createCudaBackend({ library: driver?.library });

  afterEach(() => {
    delete process.env.EMULATED_MULTIPROCESSORS;
  });

  describeRowBits(makeBackend, { inputs: 300, outputs: 250, rows: [1, 9, 32, 33, 130] });
  describeFusions(makeBackend);
  // The last of these have tiles of 192 rows, which only rows in one part have.
  describeMatmulPrecision((matmulPrecision) => createCudaBackend({ library: driver?.library, matmulPrecision }), {
    ...{ inputs: 136, outputs: 250, rows: [33, 70, 380] },
  });

  describe('tiles of each kind give the bits that products of few rows have', () => {
    test.each([
      // One multiprocessor takes its tiles one after another, and 8 have a slice each.
      ['float16', '64x64', 1, { T: 50, N: 60, K: 100 }],
      ['float16', '64x64', 8, { T: 35, N: 40, K: 6000 }],
      ['float16', '128x128', 1, { T: 100, N: 120, K: 200 }],
      ['bfloat16', '192x128', 1, { T: 100, N: 180, K: 136 }],
      ['bfloat16', '192x128', 8, { T: 120, N: 190, K: 2000 }],
      ['int8', '64x64', 1, { T: 50, N: 60, K: 100 }],
      ['int4', '128x128', 1, { T: 100, N: 250, K: 200 }],
    ] as const)('%s: %s, %i multiprocessors', async (dtype, tiles, multiprocessors, { T, N, K }) => {
      const kind = dtype.startsWith('int') ? 'codes' : 'halves';
      const padded = Math.ceil(K / 32) * 32;
      const choice = leastTime(kind, multiprocessors, { T, N, padded, numParts: 2 });
      expect(choice).toMatchObject({ tiles: { kernel: `linear_wide_${tiles}` }, isApart: multiprocessors > 1 });
      process.env.EMULATED_MULTIPROCESSORS = `${multiprocessors}`;
      const backend = await makeBackend();
      const random = new SeededRandom(1);
      const weight = backend.linearWeight(random.floats(N * K), N, K, dtype);
      const x = backend.tensor(random.floats(T * K), [T, K]);
      const many = await backend.read(backend.linear(x, weight));
      for (let begin = 0; begin < T; begin += 30) {
        const end = Math.min(T, begin + 30);
        const few = await backend.read(backend.linear(backend.sliceRows(x, begin, end), weight));
        expectSame(few, many.subarray(begin * N, end * N), `rows ${begin} to ${end}`);
      }
      backend.dispose();
    });

    test('rows in one part have tiles of 192 rows', () => {
      const { tiles } = leastTime('halves', 4, { T: 380, N: 250, padded: 160, numParts: 1 });
      expect(tiles.kernel).toBe('linear_wide_128x192');
    });
  });

  test('formats whose values are less than scaled codes have the same bits, too', async () => {
    const backend = await makeBackend();
    const [outputs, K, T] = [300, 512, 67];
    const writer = backend.blockWeightWriter?.(outputs, K, 'Q4_K');
    assert(writer !== undefined);
    writer.writeBlocks(0, someBlocks('Q4_K', outputs, K, 1));
    const weight = writer.finish();
    const x = backend.tensor(new SeededRandom(1).floats(T * K), [T, K]);
    const many = await backend.read(backend.linear(x, weight));
    const few = await backend.read(backend.linear(backend.sliceRows(x, 0, 3), weight));
    expectSame(few, many.subarray(0, 3 * outputs), '3 rows');
    backend.dispose();
  });
});
