import { afterEach, describe, expect, test, vi } from 'vitest';
import { DEFAULT_LAUNCH } from '../../../src/backends/webgpu/launch/default.ts';
import type { LaunchParameters } from '../../../src/backends/webgpu/launch/launch-parameters.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu } from '../../null-gpu.ts';
import { few } from '../../runs.ts';
import { CONFIGS, DEVICES, prepareModel, prepareOperations } from './shader-plans.ts';

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

  test('for what no model does', async () => {
    gpu = await NullGpu.install();
    launch.current = DEFAULT_LAUNCH;
    await prepareOperations('int8');
    expect(gpu.kernels.size).toBeGreaterThan(5);
  });
});
