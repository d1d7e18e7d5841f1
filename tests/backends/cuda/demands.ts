import type { Demands } from '../suite/harness.ts';

/** float32 throughout: errors grow with the length of sums. */
export const CUDA_DEMANDS: Demands = {
  tolerances: {
    convolution: { relative: 1e-5, absolute: 1e-5 },
    stateSpace: { relative: 1e-4, absolute: 1e-4 },
    dense: { relative: 1e-5, absolute: 1e-4 },
    norm: { relative: 1e-5, absolute: 1e-5 },
    // Activations stay float32.
    quantized: { relative: 1e-5, absolute: 1e-4 },
  },
  bitExact: true,
};
