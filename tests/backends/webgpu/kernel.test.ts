import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { Kernels } from '../../../src/backends/webgpu/device/kernel.ts';
import { GpuError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu } from '../../null-gpu.ts';

const CONSTANTS = { SILU: true, ROWS: 1 };
const FIXED = {
  ...{ C: 64, xOffset: 0, xStride: 64, statesOffset: 0, statesStride: 192 },
  ...{ convWeightOffset: 0, convBiasOffset: 0, convolvedOffset: 0, convolvedStride: 64 },
};

describe.runIf(need('dawn'))('fixed numbers of kernels', () => {
  let gpu: NullGpu;
  let kernels: Kernels;

  beforeEach(async () => {
    gpu = await NullGpu.install();
    kernels = new Kernels((await requestGpuDevice()).device);
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
    expect(get(FIXED).fields.map(({ name }) => name)).toEqual(['T']);
  });

  test('must all be given', () => {
    const { C: _, ...others } = FIXED;
    expect(() => get(others)).toThrow(GpuError);
    expect(() => get(others)).toThrow("no number 'C'");
  });
});
