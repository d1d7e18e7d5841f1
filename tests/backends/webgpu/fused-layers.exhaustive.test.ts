import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ReferenceBackend } from '../../../src/backends/reference/reference-backend.ts';
import { type GpuDevice, requestGpuDevice } from '../../../src/backends/webgpu/device/gpu-device.ts';
import { FUSIONS } from '../../../src/backends/webgpu/ops/registry.ts';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import type { ScheduledSequence } from '../../../src/layers/mamba/mamba2-metadata.ts';
import type { Mamba2ForCausalLM } from '../../../src/models/mamba2.ts';
import { need } from '../../needs/needs.ts';
import { decode, LAYERS, makeLayers, prefill, runLayers, worst } from './layers-rig.ts';

vi.setConfig({ testTimeout: 900_000, hookTimeout: 900_000 });

const SLOTS = 12;

/** Batches that take every path: rows one, few and many, decode, prefill and both, with padding. */
const BATCHES = {
  'one row': [decode(3)],
  'five rows': [decode(3), decode(0), decode(-1), decode(7), decode(1)],
  'nine rows': Array.from({ length: 9 }, (_, slot) => decode(slot)),
  'prompts, one of them continued': [prefill(2, 20, 0), prefill(5, 140, 30), prefill(-1, 3, 0)],
  'rows and a prompt': [decode(3), decode(4), prefill(6, 33, 0)],
} satisfies Readonly<Record<string, readonly ScheduledSequence[]>>;

describe.runIf(need('software-gpu'))('fused layers', () => {
  describe.each([
    {
      groups: 2,
      dtype: 'float16',
      batches: ['one row', 'nine rows', 'prompts, one of them continued', 'rows and a prompt'],
    },
    { groups: 1, dtype: 'float32', batches: ['five rows', 'rows and a prompt'] },
    { groups: 1, dtype: 'bfloat16', batches: ['one row'] },
    { groups: 4, dtype: 'int8', batches: ['five rows'] },
    { groups: 1, dtype: 'int4', batches: ['nine rows'] },
    { groups: 2, dtype: 'NVFP4', hiddenSize: 128, headDim: 64, batches: ['one row', 'rows and a prompt'] },
  ] as const)('of $dtype, $groups groups', ({ batches, ...shape }) => {
    let backend: WebGpuBackend;
    let model: Mamba2ForCausalLM;

    beforeAll(async () => {
      backend = new WebGpuBackend(await requestGpuDevice());
      model = await makeLayers(backend, shape);
    });
    afterAll(() => backend.dispose());

    test.each(batches)('do with %s what their operations do', async (name) => {
      const reference = new ReferenceBackend();
      const expected = await runLayers(reference, await makeLayers(reference, shape), BATCHES[name], SLOTS);
      expect(worst(await runLayers(backend, model, BATCHES[name], SLOTS), expected)).toBeLessThan(2e-4);
    });
  });

  test('take three dispatches to decode few rows', async () => {
    const gpu = await requestGpuDevice();
    const count = countDispatches(gpu);
    const backend = new WebGpuBackend(gpu, FUSIONS);
    try {
      await runLayers(backend, await makeLayers(backend, { groups: 1, dtype: 'float16' }), BATCHES['one row'], SLOTS);
      // The embedding and the norm after the layers.
      expect(count()).toBe(3 * LAYERS + 2);
    } finally {
      backend.dispose();
    }
  });
});

function countDispatches({ device }: GpuDevice): () => number {
  let count = 0;
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  device.createCommandEncoder = (descriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const beginComputePass = encoder.beginComputePass.bind(encoder);
    encoder.beginComputePass = (passDescriptor) => {
      const pass = beginComputePass(passDescriptor);
      const dispatchWorkgroups = pass.dispatchWorkgroups.bind(pass);
      pass.dispatchWorkgroups = (...counts) => {
        count++;
        dispatchWorkgroups(...counts);
      };
      return pass;
    };
    return encoder;
  };
  return () => count;
}
