import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { OutOfDeviceMemoryError, UnsupportedDeviceError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { largestDifference } from '../../numbers.ts';
import { few } from '../../runs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';

vi.setConfig({ testTimeout: 300_000 });

describe.runIf(need('software-gpu'))('a model on webgpu', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  // Software takes half a minute to compile the kernels of prompts and batches, which are made ready with a load otherwise:
  // the exhaustive tests have them, and the golden tokens.
  test('gives the logits and tokens that the processor gives, one token a step', async () => {
    const prepare = vi.spyOn(WebGpuBackend.prototype, 'prepare').mockResolvedValue();
    onTestFinished(() => prepare.mockRestore());
    await using cpu = await LLM.load(GOLDEN, { device: 'cpu' });
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu' });
    expect(prepare).toHaveBeenCalled();
    const [logits, wanted] = [await llm.logits([5]), await cpu.logits([5])];
    expect(logits).toHaveLength(wanted.length);
    expect(Math.max(...logits.map((value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-4);
    for (const options of few([{ temperature: 1, topK: 40, topP: 0.9, seed: 3 }, { temperature: 0 }])) {
      const complete = (model: LLM) => model.complete([5], { ...options, maxTokens: 6, ignoreEos: true });
      expect((await complete(llm)).tokenIds).toEqual((await complete(cpu)).tokenIds);
    }
  });

  test("keeps a file's blocks in its bytes, and gives the logits of their values", async () => {
    const file = fileURLToPath(new URL('../../goldens/gguf/nemotron-h-Q4_K_M.gguf', import.meta.url));
    const prepare = vi.spyOn(WebGpuBackend.prototype, 'prepare').mockResolvedValue();
    const writers = vi.spyOn(WebGpuBackend.prototype, 'blockWeightWriter');
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    let held = 0;
    gpu.onDevice = (device) => {
      const createBuffer = device.createBuffer.bind(device);
      device.createBuffer = (descriptor) => {
        const buffer = createBuffer(descriptor);
        held += descriptor.size;
        const destroy = buffer.destroy.bind(buffer);
        buffer.destroy = () => {
          held -= descriptor.size;
          return destroy();
        };
        return buffer;
      };
    };
    await using llm = await LLM.load(file, { device: 'webgpu', maxNumSeqs: 1, maxModelLen: 32, prefixCacheBytes: 0 });
    expect(prepare).toHaveBeenCalled();
    expect(new Set(writers.mock.calls.map(([, , format]) => format))).toEqual(new Set(['Q4_K', 'Q6_K']));
    // With the states; as float32, weights alone take six times the file's bytes.
    expect(held).toBeLessThan(1.4 * statSync(file).size);
    await using cpu = await LLM.load(file, { device: 'cpu', dtype: 'float32' });
    expect(largestDifference(await llm.logits([5]), await cpu.logits([5]))).toBeLessThan(1e-4);
  });

  test('too little memory is found out before weights are read, and the device given back', async () => {
    let lost: Promise<GPUDeviceLostInfo> | undefined;
    gpu.onDevice = (device) => {
      lost = device.lost;
      const popErrorScope = device.popErrorScope.bind(device);
      device.popErrorScope = async () => {
        await popErrorScope();
        return { message: 'injected' } as GPUError;
      };
    };
    const read = vi.fn();
    await expect(
      LLM.load(GOLDEN, { device: 'webgpu', onProgress: ({ status }) => status === 'load' && read() }),
    ).rejects.toThrow(OutOfDeviceMemoryError);
    expect(read).not.toHaveBeenCalled();
    expect(await lost).toMatchObject({ reason: 'destroyed' });
  });

  test('a load can be aborted, and gives the device back', async () => {
    const abort = new AbortController();
    const onProgress = ({ status }: { status: string }) => status === 'load' && abort.abort(new Error('enough'));
    const load = LLM.load(GOLDEN, { device: 'webgpu', signal: abort.signal, onProgress });
    await expect(load).rejects.toThrow('enough');
    expect(await gpu.devices.at(-1)?.lost).toMatchObject({ reason: 'destroyed' });
  });

  test('without a GPU says so', async () => {
    Object.defineProperty(globalThis.navigator, 'gpu', {
      value: { requestAdapter: async () => null },
      configurable: true,
    });
    await expect(LLM.load(GOLDEN, { device: 'webgpu' })).rejects.toThrow(UnsupportedDeviceError);
  });

  test('auto keeps small models on the processor, and says why', async () => {
    await using llm = await LLM.load(GOLDEN);
    expect(llm.device).toMatchObject({ device: 'cpu', reason: expect.stringContaining('MB') });
  });
});
