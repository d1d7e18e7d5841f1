import { afterEach, expect, test } from 'vitest';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { chooseDevice } from '../../../src/engine/load/choose-device.ts';
import type { ModelConfig } from '../../../src/models/causal-lm.ts';
import type { BlockFormat } from '../../../src/tensor/block-formats.ts';

const config = { numHiddenLayers: 24 } as ModelConfig;

/** A checkpoint of so many weights, in bfloat16 or in blocks. */
function checkpointOf(weights: number, format?: BlockFormat): Checkpoint {
  const tensor = { dtype: format ?? 'BF16', shape: [weights], blocks: format && { format } };
  return { names: () => ['w'], tensor: () => tensor } as unknown as Checkpoint;
}

/** What finds no GPU besides WebGPU's. */
const noNvidia = async () => undefined;

function useGpu(info: object | undefined): void {
  const requestAdapter = async () => (info ? { info } : null);
  Object.defineProperty(globalThis.navigator, 'gpu', { value: { requestAdapter }, configurable: true });
}

afterEach(() => void Reflect.deleteProperty(globalThis.navigator, 'gpu'));

test('auto takes the GPU for a model whose weights it reads faster', async () => {
  useGpu({ vendor: 'nvidia', architecture: 'hopper', description: 'H100', isFallbackAdapter: false });
  const choice = await chooseDevice('auto', checkpointOf(130e6), config, 'auto', noNvidia);
  expect(choice).toEqual({ device: 'webgpu', reason: expect.stringContaining('H100') });
});

test('auto takes CUDA where there is a driver for it, and says so', async () => {
  useGpu({ vendor: 'nvidia', architecture: 'hopper', description: 'H100', isFallbackAdapter: false });
  const choice = await chooseDevice('auto', checkpointOf(130e6), config, 'auto', async () => 'NVIDIA H200');
  expect(choice).toEqual({ device: 'cuda', reason: expect.stringMatching(/NVIDIA H200 .*CUDA/) });
});

test.each([
  ['several ranks', 130e6, 2, {}, /tensorParallelSize 2/],
  ['a small model', 1e6, 1, {}, /2 MB/],
  ['a GPU that is software', 130e6, 1, { description: 'llvmpipe (LLVM 15)' }, /software/],
  ['no GPU', 130e6, 1, undefined, /finds no GPU/],
] as const)('auto takes the processor with %s', async (_, weights, ranks, info, reason) => {
  useGpu(info && { vendor: '', architecture: '', description: '', isFallbackAdapter: false, ...info });
  const choice = await chooseDevice('auto', checkpointOf(weights), config, ranks, noNvidia);
  expect(choice).toEqual({ device: 'cpu', reason: expect.stringMatching(reason) });
});

test('weights in blocks count with their bytes', async () => {
  useGpu({ vendor: 'nvidia', architecture: 'hopper', description: 'H100', isFallbackAdapter: false });
  const { device, reason } = await chooseDevice('auto', checkpointOf(32e6, 'Q4_0'), config, 1, noNvidia);
  expect(device).toBe('cpu');
  expect(reason).toContain('18 MB');
});

test('what was asked for stays', async () => {
  useGpu(undefined);
  expect(await chooseDevice('webgpu', checkpointOf(1), config, 1)).toMatchObject({ device: 'webgpu' });
});
