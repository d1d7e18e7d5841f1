import { describe, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { hasGpu } from '../../software-gpu.ts';
import { describeBackend } from '../suite/backend-suite.ts';

// A GPU made of a processor takes its time.
vi.setConfig({ testTimeout: 300_000 });

describe.skipIf(!hasGpu)('webgpu backend', () => {
  // float32 throughout: errors grow with the length of sums.
  const demands = {
    tolerances: {
      convolution: { relative: 1e-5, absolute: 1e-5 },
      stateSpace: { relative: 1e-4, absolute: 1e-4 },
      dense: { relative: 1e-5, absolute: 1e-4 },
      norm: { relative: 1e-5, absolute: 1e-5 },
      // Activations stay float32.
      quantized: { relative: 1e-5, absolute: 1e-4 },
    },
    bitExact: false,
  };
  describeBackend(() => createWebGpuBackend(), demands);
});
