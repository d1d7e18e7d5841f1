import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest';
import { requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { Storage } from '../../../src/backends/webgpu/device/gpu-tensor.ts';
import { GpuKernels } from '../../../src/backends/webgpu/device/kernel.ts';
import { Handover } from '../../../src/backends/webgpu/graph/handover.ts';
import { Lowering } from '../../../src/backends/webgpu/graph/lowering.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu } from '../../null-gpu.ts';

const CONSTANTS = { SILU: true, ROWS: 1 };
const FIXED = {
  C: 64,
  xOffset: 0,
  xStride: 64,
  statesOffset: 0,
  statesStride: 192,
  convWeightOffset: 0,
  convBiasOffset: 0,
  convolvedOffset: 0,
  convolvedStride: 64,
};

describe.runIf(need('dawn'))('fixed numbers of kernels', () => {
  let gpu: NullGpu;
  let kernels: GpuKernels;

  beforeEach(async () => {
    gpu = await NullGpu.install();
    kernels = new GpuKernels((await requestGpuDevice()).device);
  });
  afterEach(() => gpu.uninstall());

  const get = (fixed: Readonly<Record<string, number>>) => kernels.get('causal-conv1d-fours', CONSTANTS, fixed);

  test('make one kernel each, whatever else is given', async () => {
    const kernel = get(FIXED);
    expect(get({ ...FIXED })).toBe(kernel);
    expect(get({ ...FIXED, statesParts: 3 })).toBe(kernel);
    expect(get({ ...FIXED, xOffset: 128 })).not.toBe(kernel);
    await kernel.ready;
  });

  test('are no params', () => {
    expect(get(FIXED).params.map(({ name }) => name)).toEqual(['T']);
  });
});

describe.runIf(need('dawn'))('what a dispatch gives a shader', () => {
  let gpu: NullGpu;
  beforeEach(async () => {
    gpu = await NullGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test('is checked by its type', async () => {
    const device = await requestGpuDevice();
    const owner = {};
    const nothing = new Storage(owner, 16);
    const run = {
      constants: { GATHER: false },
      bindings: { x: nothing, rows: nothing, out: nothing },
      params: { T: 1, C: 1, xOffset: 0, xStride: 1, outOffset: 0, outStride: 1 },
      workgroups: [1, 1, 1],
    } as const;
    const lowering = new Lowering(owner, device, new GpuKernels(device.device), nothing, {
      isExact: false,
      handover: new Handover([]),
    });
    lowering.dispatch('copy-rows', run);
    expect(lowering.commands).toMatchObject([{ type: 'dispatch', params: run.params, workgroups: [1, 1, 1] }]);
    const { T: _, ...fewerParams } = run.params;
    const { x: __, ...fewerBindings } = run.bindings;
    type Run = Parameters<typeof lowering.dispatch<'copy-rows'>>[1];
    expectTypeOf<typeof run>().toExtend<Run>();
    expectTypeOf<Omit<typeof run, 'params'> & { params: typeof fewerParams }>().not.toExtend<Run>();
    expectTypeOf<Omit<typeof run, 'bindings'> & { bindings: typeof fewerBindings }>().not.toExtend<Run>();
    expectTypeOf<Omit<typeof run, 'constants'>>().not.toExtend<Run>();
    expectTypeOf<typeof run & { fixed: { xOffset: number } }>().not.toExtend<Run>();
  });
});
