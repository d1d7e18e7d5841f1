import { describe, vi } from 'vitest';
import { describeArrays } from '../suite/arrays.ts';
import { describeCausalConv1dFn } from '../suite/causal-conv1d-fn.ts';
import { describeCausalConv1dUpdate } from '../suite/causal-conv1d-update.ts';
import { describeChunkScan } from '../suite/chunk-scan.ts';
import { describeChunkScanBatches } from '../suite/chunk-scan-batches.ts';
import { describeDense } from '../suite/dense.ts';
import { describeLogDecaySums } from '../suite/log-decay-sums.ts';
import { describeNorms } from '../suite/norms.ts';
import { describeSelectiveStateUpdate } from '../suite/selective-state-update.ts';
import { describeSplitProperties } from '../suite/split-properties.ts';
import { hasGpu, softwareBackend } from './software-gpu.ts';

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
  const makeBackend = () => softwareBackend();
  describeArrays(makeBackend);
  describeDense(makeBackend, demands);
  describeNorms(makeBackend, demands);
  describeCausalConv1dFn(makeBackend, demands);
  describeCausalConv1dUpdate(makeBackend, demands);
  describeChunkScan(makeBackend, demands);
  describeChunkScanBatches(makeBackend, demands);
  describeSelectiveStateUpdate(makeBackend, demands);
  describeLogDecaySums(makeBackend, demands);
  describeSplitProperties(makeBackend, demands);
});
