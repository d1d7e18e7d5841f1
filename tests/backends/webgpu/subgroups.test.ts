import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { describeGpu } from '../../../src/backends/webgpu/device/find-gpu.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA } from '../../null-gpu.ts';
import { expectClose, indices } from '../suite/harness.ts';
import { Inputs } from '../suite/inputs.ts';

vi.setConfig({ testTimeout: 300_000 });

const SIZES = [4, 8, 16, 32, 64];
const RANGES = SIZES.flatMap((least) => SIZES.filter((most) => most >= least).map((most) => [least, most] as const));
const [ROWS, SLOTS, H, P] = [3, 4, 4, 32];

describe.runIf(need('dawn'))('subgroups', () => {
  let gpu: NullGpu | undefined;
  afterEach(() => {
    gpu?.uninstall();
    gpu = undefined;
  });

  test.each(RANGES)(
    'of %i to %i are used where one is just as large as a channel, or a matrix fragment',
    async (...sizes) => {
      const [subgroupMinSize, subgroupMaxSize] = sizes;
      gpu = await NullGpu.install({ ...NVIDIA, info: { ...NVIDIA.info, subgroupMinSize, subgroupMaxSize } });
      const backend = await createWebGpuBackend();
      for (const N of SIZES.map((lanes) => 4 * lanes)) {
        gpu.kernels.clear();
        await backend.prepare([() => gatedUpdate(backend, N)]);
        const isFilled = subgroupMinSize === N / 4 && subgroupMaxSize === N / 4;
        const [kernel] = gpu.kernels;
        expect(kernel).toMatch(/^state-update-gate /);
        expect(kernel.includes('SUBGROUPS=true')).toBe(isFilled);
      }
      gpu.kernels.clear();
      const weight = backend.linearWeight(new Float32Array(64 * 64), 64, 64, 'float16');
      await backend.prepare([() => backend.linear(backend.zeros([64, 64]), weight)]);
      const usesMatrices = [...gpu.kernels].some((kernel) => kernel.startsWith('linear-matrix'));
      expect(usesMatrices).toBe(subgroupMinSize === 32 && subgroupMaxSize === 32);
      backend.dispose();
    },
  );

  // The software GPU's have 4 invocations: as many as share a channel of 16 states.
  test.each([16, 32, 64])('give the same sums as workgroup memory does: %i states', async (N) => {
    const info = await describeGpu();
    const backend = await createWebGpuBackend();
    const without = await createWebGpuBackend({ withoutFeatures: ['subgroups'] });
    const [expected, ...actual] = await Promise.all(
      [new ReferenceBackend(), backend, without].map((one) => one.scope(() => one.read(gatedUpdate(one, N)))),
    );
    for (const values of actual) expectClose(values, expected, { relative: 1e-5, absolute: 1e-5 }, 'y');
    if (info.isSoftware) expect([info.subgroupMinSize, info.subgroupMaxSize]).toEqual([4, 4]);
    backend.dispose();
    without.dispose();
  });
});

/** One step of some channels of N states, and the gate that follows, as a mixer calls them. */
function gatedUpdate(backend: Backend, N: number): Tensor {
  const inputs = new Inputs(N);
  const normal = (...shape: number[]) => backend.tensor(inputs.normal(shape.reduce((a, b) => a * b, 1)), shape);
  const [x, B, C] = backend.splitColumns(normal(ROWS, H * P + 2 * N), [H * P, N, N]);
  const [z, dt] = backend.splitColumns(normal(ROWS, H * P + H), [H * P, H]);
  const y = backend.selectiveStateUpdate({
    x,
    dt,
    B,
    C,
    A: backend.tensor(inputs.decayRates(H), [H]),
    D: normal(H),
    dtBias: normal(H),
    dtSoftplus: true,
    nGroups: 1,
    state: normal(SLOTS, H, P, N),
    stateBatchIndices: indices(backend, [2, 0, 3]),
  });
  return backend.siluGate(y, z);
}
