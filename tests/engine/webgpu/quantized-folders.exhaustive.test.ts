import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { CASES } from '../../checkpoint/quantization/cases.ts';
import { quantizedFolder } from '../../checkpoint/quantization/quantized-folder.ts';
import { need } from '../../needs/needs.ts';
import { largestDifference } from '../../numbers.ts';
import { FaultyGpu } from '../../software-gpu.ts';

vi.setConfig({ testTimeout: 600_000 });

/** A method for each format of blocks that llama.cpp does not have. */
const FORMATS = {
  F8_E4M3: 'FP8, blocks of 128x128',
  NVFP4: 'ModelOpt NVFP4',
  MXFP4: 'MLX mxfp4',
  INT4_G32: 'AWQ',
  INT8_G128: 'compressed-tensors int-quantized',
};

describe.runIf(need('software-gpu'))('a quantised folder on webgpu', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test.each(Object.entries(FORMATS))('%s (%s) gives the logits of its values', async (format, name) => {
    const quantization = CASES.find((each) => each.name === name);
    if (quantization === undefined) throw new Error(name);
    const folder = await quantizedFolder(quantization);
    const prepare = vi.spyOn(WebGpuBackend.prototype, 'prepare').mockResolvedValue();
    const writers = vi.spyOn(WebGpuBackend.prototype, 'blockWeightWriter');
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    await using llm = await LLM.load(folder, { device: 'webgpu' });
    expect(prepare).toHaveBeenCalled();
    expect(writers.mock.calls.map(([, , each]) => each)).toEqual([format, format]);
    await using reference = await LLM.load(folder, { device: 'reference', dtype: 'float32' });
    expect(largestDifference(await llm.logits([5]), await reference.logits([5]))).toBeLessThan(1e-4);
  });
});
