import { describe, expect, test, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { describeCausalConv1dUpdate } from '../suite/causal-conv1d-update.ts';
import { expectClose, indices } from '../suite/harness.ts';
import { Inputs } from '../suite/inputs.ts';
import { describeNorms } from '../suite/norms.ts';
import { describeSelectiveStateUpdate } from '../suite/selective-state-update.ts';
import { onBoth } from './small-bindings.ts';

vi.setConfig({ testTimeout: 900_000 });

const tolerance = { relative: 1e-4, absolute: 1e-4 };
const demands = {
  tolerances: {
    convolution: tolerance,
    stateSpace: tolerance,
    dense: tolerance,
    norm: tolerance,
    quantized: tolerance,
  },
  bitExact: false,
};
/** What every WebGPU device gives, and nothing beyond. */
const least = {
  defaultLimits: true,
  withoutFeatures: ['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix'],
};

describe.runIf(need('software-gpu'))('a device of the least limits and no features', () => {
  test('is what the tests get', async () => {
    const { limits, features, device } = await requestGpuDevice(least);
    expect(limits).toMatchObject({
      maxStorageBuffersPerShaderStage: 8,
      maxStorageBufferBindingSize: 128 * 2 ** 20,
      maxComputeWorkgroupStorageSize: 16384,
    });
    expect(features.has('subgroups')).toBe(false);
    device.destroy();
  });

  // These have the most bindings, or use workgroup memory.
  describeSelectiveStateUpdate(() => createWebGpuBackend(least), demands);
  describeCausalConv1dUpdate(() => createWebGpuBackend(least), demands);
  describeNorms(() => createWebGpuBackend(least), demands);
});

describe.runIf(need('software-gpu'))('what is larger than a binding', () => {
  test('states lie in parts of some slots: they are updated, scanned, copied, saved and loaded', async () => {
    const [slots, H, P, N, C, W] = [9, 2, 8, 16, 48, 3];
    const [actual, expected] = await onBoth(async (backend) => {
      const inputs = new Inputs(2);
      const normal = (...shape: number[]) => {
        return backend.tensor(inputs.normal(shape.reduce((a, b) => a * b, 1)), shape);
      };
      const states = normal(slots, H, P, N);
      const convStates = normal(slots, C, W);
      const scan = () => ({
        A: backend.tensor(inputs.decayRates(H), [H]),
        D: normal(H),
        dtBias: normal(H),
        dtSoftplus: true,
        nGroups: 1,
      });
      const conv = { weight: normal(C, W + 1), bias: normal(C), activation: 'silu' as const };
      const few = indices(backend, [8, 0, -1, 4]);
      const results = [
        backend.selectiveStateUpdate({
          ...scan(),
          x: normal(4, H * P),
          dt: normal(4, H),
          B: normal(4, N),
          C: normal(4, N),
          state: states,
          stateBatchIndices: few,
        }),
        backend.causalConv1dUpdate({ ...conv, x: normal(4, C), convState: convStates, convStateIndices: few }),
      ];
      const sequences = {
        queryStartLoc: indices(backend, [0, 3, 4, 9]),
        cacheIndices: indices(backend, [7, 2, 8]),
        hasInitialState: indices(backend, [1, 0, 1]),
      };
      results.push(
        backend.mambaChunkScan({
          ...scan(),
          ...sequences,
          x: normal(9, H * P),
          dt: normal(9, H),
          B: normal(9, N),
          C: normal(9, N),
          ssmStates: states,
          chunkSize: 4,
        }),
        backend.causalConv1dFn({ ...conv, ...sequences, x: normal(9, C), convStates }),
      );
      backend.copySlot(states, 8, 1);
      backend.copySlot(states, 1, 0);
      const saved = backend.saveSlot(states, 7);
      backend.loadSlot(states, 3, saved);
      results.push(backend.sliceRows(states, 2, 9), states, convStates);
      const values: number[] = [];
      for (const [i, result] of results.entries()) {
        const rows = await backend.read(result);
        // The third row of the first two is a padded one.
        values.push(
          ...(i < 2 ? [...rows.subarray(0, rows.length / 2), ...rows.subarray((3 * rows.length) / 4)] : rows),
        );
      }
      return Float32Array.from(values);
    });
    expectClose(actual, expected, tolerance, 'results and states');
  });

  test('activations that sequences go through are refused with what to do', async () => {
    const backend = await createWebGpuBackend({ limits: { maxStorageBufferBindingSize: 4096 } });
    const convolve = () => {
      return backend.causalConv1dFn({
        x: backend.zeros([64, 64]),
        weight: backend.zeros([64, 4]),
        convStates: backend.zeros([1, 64, 3]),
        queryStartLoc: indices(backend, [0, 64]),
      });
    };
    await expect(async () => backend.read(convolve())).rejects.toThrow(ArgumentError);
    backend.dispose();
  });
});
