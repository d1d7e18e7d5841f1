import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createCudaBackend } from '../../../src/backends/cuda/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { isFullRun } from '../../runs.ts';
import { describeBackend } from '../suite/backend-suite.ts';
import { describeSampling } from '../suite/sampling.ts';
import { describeBlocks } from './blocks.ts';
import { CUDA_DEMANDS } from './demands.ts';
import { buildEmulatedDriver, type EmulatedDriver } from './emulated-driver.ts';
import { describeExpertVisits } from './expert-visits.ts';
import { describeFusions } from './fusions.ts';
import { describeMatmulPrecision } from './matmul-precision.ts';
import { describeRowBits } from './row-bits.ts';

// A processor that runs kernels takes its time, and so does the compiler that makes them for it.
vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

describe.runIf(need('g++'))('cuda, emulated', () => {
  let driver: EmulatedDriver | undefined;
  beforeAll(async () => {
    driver = await buildEmulatedDriver([
      ...(['FLOAT32', 'FLOAT16', 'BFLOAT16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q5_K', 'Q6_K'] as const),
      ...(['MXFP4', 'NVFP4', 'INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128', 'F8_E4M3'] as const),
    ]);
  });
  afterAll(() => driver?.dispose());
  const makeBackend = () => createCudaBackend({ library: driver?.library });

  describeBackend(makeBackend, CUDA_DEMANDS);
  describeSampling(makeBackend);
  describeBlocks(makeBackend);
  describeExpertVisits(makeBackend);
  describeFusions(makeBackend);
  describeRowBits(makeBackend, { inputs: 300, outputs: 70, rows: [1, 7, 9, 17, 33, 65] });
  describeMatmulPrecision((matmulPrecision) => createCudaBackend({ library: driver?.library, matmulPrecision }));
});

const { stdout } = spawnSync('nvcc', ['--version'], { encoding: 'utf8' });
test.runIf(stdout?.includes('release 13.0'))('the kept PTX is what nvcc makes of the sources', () => {
  // Each source for one of its formats.
  const formats = isFullRun ? [] : ['FLOAT32', 'FLOAT16', 'Q4_K', 'CODES'];
  const args = ['scripts/compile-cuda.mjs', '--check', ...formats];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});
