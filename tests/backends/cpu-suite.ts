import { describe, expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import type { KernelVariant } from '../../src/backends/cpu/kernels/product-forms.ts';
import { compileFastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { describeBackend } from './suite/backend-suite.ts';

/** Tests the backend on kernels of one variant. */
export function describeCpu(variant: KernelVariant): void {
  describe(`cpu backend, ${variant}`, () => {
    const compiled = compileFastestKernels([variant]);

    test('runs these kernels here', () => {
      expect(compiled.variant).toBe(variant);
    });

    // float32 throughout: errors grow with the length of sums.
    describeBackend(() => new CpuBackend(loadKernels(compiled)), {
      tolerances: {
        convolution: { relative: 1e-5, absolute: 1e-5 },
        stateSpace: { relative: 1e-4, absolute: 1e-4 },
        dense: { relative: 1e-5, absolute: 1e-4 },
        norm: { relative: 1e-5, absolute: 1e-5 },
        // Activations keep 7 or 8 bits of a block's largest magnitude, about 3 here; outputs are about 1.
        quantized: { relative: 0, absolute: 0.06 },
      },
      bitExact: true,
    });
  });
}
