import { afterEach, describe, expect, test, vi } from 'vitest';
import { DEFAULT_LAUNCH } from '../../../src/backends/webgpu/launch/default.ts';
import type { LaunchParameters } from '../../../src/backends/webgpu/launch/launch-parameters.ts';
import { NVIDIA_LAUNCH } from '../../../src/backends/webgpu/launch/nvidia.ts';
import { BLOCK_FORMATS, type BlockFormat } from '../../../src/tensor/block-formats.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA } from '../../null-gpu.ts';
import { few } from '../../runs.ts';
import { CONFIGS, DEVICES, prepareModel, prepareOperations, wide } from './shader-plans.ts';

vi.setConfig({ testTimeout: 300_000 });

/** What the backend is told to lay kernels out by. */
const launch = vi.hoisted(() => ({ current: undefined as LaunchParameters | undefined }));
vi.mock('../../../src/backends/webgpu/launch/choose-launch.ts', () => ({
  launchParametersFor: () => launch.current,
}));

// Every device and every model once; shader-variants.exhaustive.test.ts has all of them together.
describe.runIf(need('dawn'))('shaders compile', () => {
  let gpu: NullGpu | undefined;
  afterEach(() => gpu?.uninstall());

  const models = Object.keys(CONFIGS);
  test.each(
    few(
      Object.entries(DEVICES).map(([device, pretence], i) => [device, models[i % models.length], pretence] as const),
      5,
    ),
  )('on a device %s, for %s', async (_, model, pretence) => {
    gpu = await NullGpu.install(pretence);
    launch.current = DEFAULT_LAUNCH;
    await prepareModel(CONFIGS[model], 'float16');
    expect(gpu.kernels.size).toBeGreaterThan(5);
  });

  test.each(few(Object.keys(BLOCK_FORMATS) as BlockFormat[], 3))('for weights in %s blocks', async (format) => {
    gpu = await NullGpu.install(NVIDIA);
    launch.current = NVIDIA_LAUNCH;
    await prepareModel(wide(2), format);
    const kernels = [...gpu.kernels].filter((kernel) => kernel.includes(`DTYPE=${format}`));
    for (const shader of ['embedding', 'linear-vector', 'linear-matrix']) {
      expect(kernels.some((kernel) => kernel.startsWith(`${shader} `))).toBe(true);
    }
  });

  test('for what no model does', async () => {
    gpu = await NullGpu.install();
    launch.current = DEFAULT_LAUNCH;
    for (const dtype of ['int8', 'Q6_K'] as const) {
      await prepareOperations(dtype);
      expect([...gpu.kernels].some((kernel) => /^linear /.test(kernel) && kernel.includes(dtype))).toBe(true);
    }
  });
});
