import { afterAll, beforeAll, describe, test } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { expectSame } from '../suite/harness.ts';
import { describeChunks, draw, scan } from './chunks.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';

describe.runIf(need('g++'))('on the emulated driver', () => {
  let driver: EmulatedDriver;
  beforeAll(async () => {
    // As Hopper has: what others have is too little for the largest states.
    process.env.EMULATED_SHARED_BYTES = String(227 * 1024);
    driver = await buildEmulatedDriver(['FLOAT32']);
  });
  afterAll(() => {
    driver.dispose();
    delete process.env.EMULATED_SHARED_BYTES;
  });
  const make = (matmulPrecision: 'high' | 'medium') => createCudaBackend({ library: driver.library, matmulPrecision });

  describeChunks(make);

  test('a GPU with too little shared memory gives the bits of the recurrence', async () => {
    process.env.EMULATED_SHARED_BYTES = String(99 * 1024);
    const inputs = draw({ heads: 1, headDim: 32, stateSize: 256, groups: 1 }, 64);
    const [medium, high] = [await make('medium'), await make('high')];
    const found = await scan(medium, inputs, [{ length: 64, slot: 0 }]);
    expectSame(found.y, (await scan(high, inputs, [{ length: 64, slot: 0 }])).y, 'y');
    medium.dispose();
    high.dispose();
  });
});
