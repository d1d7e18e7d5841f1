import { afterAll, assert, beforeAll, describe, test, vi } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { need } from '../../needs/needs.ts';
import { someBlocks } from '../../tensor/blocks.ts';
import { expectSame } from '../suite/harness.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';
import { describeFusions } from './fusions.ts';
import { describeRowBits } from './row-bits.ts';

vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

describe.runIf(need('g++'))('cuda, emulated with what only Hopper has', () => {
  let driver: EmulatedDriver | undefined;
  beforeAll(async () => {
    process.env.EMULATED_CAPABILITY = '90';
    driver = await buildEmulatedDriver(['FLOAT32', 'FLOAT16', 'BFLOAT16', 'INT8_G128', 'INT4_G32', 'Q4_K']);
  });
  afterAll(() => {
    delete process.env.EMULATED_CAPABILITY;
    driver?.dispose();
  });
  const makeBackend = () => createCudaBackend({ library: driver?.library });

  describeRowBits(makeBackend, { inputs: 300, outputs: 250, rows: [1, 64, 65, 130] });
  describeFusions(makeBackend);

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
