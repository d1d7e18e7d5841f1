import { afterEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { WEIGHT_DTYPES } from '../../../src/tensor/dtype.ts';
import { need } from '../../needs/needs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';

vi.setConfig({ testTimeout: 300_000 });

/** Computes nothing, but checks everything, and has every feature: those that the software GPU lacks, too. */
const NULL_DEVICE = ['backend=null', 'enable-dawn-features=allow_unsafe_apis'];

// Loading plans steps of usual sizes and compiles their kernels. What is wrong with one ends the load.
describe.runIf(need('dawn'))("on Dawn's null device, kernels compile with every feature", () => {
  let gpu: FaultyGpu | undefined;
  afterEach(() => gpu?.uninstall());

  test('there are some that the software GPU lacks', async () => {
    gpu = await FaultyGpu.install(NULL_DEVICE);
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu' });
    expect(llm.device.device).toBe('webgpu');
    expect(gpu.devices[0].features.has('shader-f16')).toBe(true);
    expect(gpu.devices[0].features.has('subgroups')).toBe(true);
  });

  test.each(WEIGHT_DTYPES)('weights of %s', async (dtype) => {
    gpu = await FaultyGpu.install(NULL_DEVICE);
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu', dtype });
    expect(llm.device.device).toBe('webgpu');
  });
});
