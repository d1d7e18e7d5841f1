import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { OutOfDeviceMemoryError, UnsupportedDeviceError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';

vi.setConfig({ testTimeout: 300_000 });

const greedy = { temperature: 0, ignoreEos: true } as const;

describe.runIf(need('software-gpu'))('a model on webgpu', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test('gives the golden logits and tokens', async () => {
    const { input_ids, greedy: expected } = JSON.parse(await readFile(`${GOLDEN}/expected.json`, 'utf8'));
    await using cpu = await LLM.load(GOLDEN, { device: 'cpu' });
    await using llm = await LLM.load(GOLDEN, { device: 'webgpu' });
    const [logits, wanted] = [await llm.logits(input_ids), await cpu.logits(input_ids)];
    expect(Math.max(...logits.map((value, i) => Math.abs(value - wanted[i])))).toBeLessThan(1e-4);
    const { tokenIds } = await llm.complete(input_ids, { ...greedy, maxTokens: expected.length });
    expect(tokenIds).toEqual(expected);
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
