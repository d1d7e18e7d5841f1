import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import {
  type ExactFloat16,
  findExactFloat16,
  NO_EXACT_FLOAT16,
} from '../../../src/backends/webgpu/device/float16-conversions.ts';
import { requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { DEFAULT_LAUNCH } from '../../../src/backends/webgpu/launch/default.ts';
import type { LaunchParameters, ShortUpdateShape } from '../../../src/backends/webgpu/launch/launch-parameters.ts';
import type { ShortStateDType } from '../../../src/tensor/state-dtype.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA } from '../../null-gpu.ts';
import { expectClose, expectSame, indices } from '../suite/harness.ts';
import { Inputs } from '../suite/inputs.ts';
import { joined } from '../suite/state-space-problem.ts';

vi.setConfig({ testTimeout: 300_000 });

/** What the backend is told to lay kernels out by. */
const launch = vi.hoisted(() => ({ current: undefined as LaunchParameters | undefined }));
vi.mock('../../../src/backends/webgpu/launch/choose-launch.ts', () => ({
  launchParametersFor: () => launch.current,
}));

const EXACT: ExactFloat16 = { widens: true, narrows: true };
const [ROWS, SLOTS, H, P] = [3, 4, 2, 64];
const STEP: Readonly<Record<ShortStateDType, number>> = { float16: 2 ** -10, bfloat16: 2 ** -7 };
const wide = (channels: number): ShortUpdateShape => {
  return { maxRows: Number.POSITIVE_INFINITY, channels, threads: 64, fours: 2, prefetchedBytes: 0 };
};

describe.runIf(need('software-gpu'))('one step of states of 16 bits', () => {
  // The software GPU's subgroups have 4 invocations: two channels, one, or part of one.
  test.each([
    { N: 32, shape: DEFAULT_LAUNCH.shortStateUpdate[0] },
    { N: 16, shape: wide(2) },
    { N: 32, shape: wide(4) },
    { N: 64, shape: wide(4) },
  ])('is the same with either conversion: $N states, $shape.fours fours', async ({ N, shape }) => {
    launch.current = { ...DEFAULT_LAUNCH, shortStateUpdate: [shape] };
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const values = new Inputs(N).normal(ROWS * H * P);
      const expected = await run(new ReferenceBackend(), dtype, N, values);
      const integers = await runOn(NO_EXACT_FLOAT16, dtype, N, values);
      expectClose(integers.y, expected.y, { relative: 1e-4, absolute: 1e-4 }, 'y');
      expectClose(integers.states, expected.states, { relative: 1.01 * STEP[dtype], absolute: 2 ** -23 }, 'states');
      const same = integers.states.filter((value, i) => value === expected.states[i]).length;
      expect(same / integers.states.length).toBeGreaterThan(0.9);
      if (dtype === 'bfloat16') continue;
      const native = await runOn(EXACT, dtype, N, values);
      expectSame(native.states, integers.states, 'states');
      expectSame(native.y, integers.y, 'y');
    }
  });

  test.each([EXACT, NO_EXACT_FLOAT16])('saturates and keeps NaN, with exact conversions: %o', async (exact) => {
    const N = 32;
    launch.current = { ...DEFAULT_LAUNCH, shortStateUpdate: [wide(4)] };
    const values = new Float32Array(ROWS * H * P);
    // What the software GPU rounds to infinity.
    values.set([65530, -65530, Number.NaN, 65519]);
    const { states } = await runOn(exact, 'float16', N, values, true);
    // The first row is in slot 2.
    const found = [0, 1, 2, 3].map((channel) => states[(2 * H * P + channel) * N + 5]);
    expect(found).toEqual([65504, -65504, Number.NaN, 65504]);
  });
});

describe('conversions of float16', () => {
  let gpu: NullGpu | undefined;
  afterEach(() => {
    gpu?.uninstall();
    gpu = undefined;
  });

  test.runIf(need('software-gpu'))('are exact where the software GPU makes no NaN of large numbers', async () => {
    const device = await requestGpuDevice();
    expect(await findExactFloat16(device.device)).toEqual({ widens: true, narrows: false });
    // They are not looked for there.
    expect(device.exactFloat16).toEqual(NO_EXACT_FLOAT16);
    device.destroy();
  });

  test.runIf(need('dawn'))('are not exact on a device that computes nothing', async () => {
    gpu = await NullGpu.install(NVIDIA);
    expect((await requestGpuDevice()).exactFloat16).toEqual(NO_EXACT_FLOAT16);
    expect([...gpu.kernels]).toEqual(['float16-conversions']);
  });
});

async function runOn(
  exactFloat16: ExactFloat16,
  ...args: [ShortStateDType, number, Float32Array, isKept?: boolean]
): Promise<Result> {
  const backend = await createWebGpuBackend({ exactFloat16 });
  try {
    return await run(backend, ...args);
  } finally {
    backend.dispose();
  }
}

interface Result {
  readonly y: Float32Array;
  readonly states: Float32Array;
}

/**
 * One step of some channels of N states with these values of x, and the gate that follows, as a mixer calls them.
 * @param isKept whether states begin as zeros and become the values.
 */
async function run(
  backend: Backend,
  dtype: ShortStateDType,
  N: number,
  values: Float32Array,
  isKept = false,
): Promise<Result> {
  const inputs = new Inputs(N);
  const normal = (length: number, kept: number) => inputs.normal(length, isKept ? kept : 0, isKept ? 0 : 1);
  const rows = (columns: readonly Float32Array[]) => {
    const widths = columns.map(({ length }) => length / ROWS);
    const row = (t: number) => columns.map((column, i) => column.subarray(t * widths[i], (t + 1) * widths[i]));
    const width = widths.reduce((sum, one) => sum + one, 0);
    return backend.tensor(joined(Array.from({ length: ROWS }, (_, t) => row(t)).flat()), [ROWS, width]);
  };
  const state = backend.zeros([SLOTS, H, P, N], dtype);
  for (let slot = 0; slot < SLOTS; slot++) {
    // Subnormal numbers of float16 too.
    const before = normal(H * P * N, 0).map((value, i) => (i % 9 === 0 ? value * 1e-5 : value));
    backend.loadSlot(state, slot, new HostSavedSlot(before));
  }
  const xBC = rows([values, normal(ROWS * N, 1), normal(ROWS * N, 1)]);
  const projected = rows([normal(ROWS * H * P, 1), normal(ROWS * H, 1)]);
  const A = backend.tensor(inputs.decayRates(H), [H]);
  const [D, dtBias] = [normal(H, 0), normal(H, 0)].map((each) => backend.tensor(each, [H]));
  const slots = indices(backend, [2, 0, 3]);
  const { gated } = backend.scope(() => {
    const [x, B, C] = backend.splitColumns(xBC, [H * P, N, N]);
    const [z, dt] = backend.splitColumns(projected, [H * P, H]);
    const y = backend.selectiveStateUpdate({
      ...{ x, dt, A, B, C, D, dtBias, state },
      dtSoftplus: !isKept,
      nGroups: 1,
      stateBatchIndices: slots,
    });
    return { gated: backend.read(backend.siluGate(y, z)) };
  });
  return { y: await gated, states: await backend.read(state) };
}
