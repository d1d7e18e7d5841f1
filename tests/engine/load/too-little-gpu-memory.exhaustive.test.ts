import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { OutOfDeviceMemoryError } from '../../../src/errors.ts';
import { buildEmulatedDriver, type EmulatedDriver } from '../../backends/cuda/emulated-driver.ts';
import { need } from '../../needs/needs.ts';

const GOLDEN = fileURLToPath(new URL('../../goldens/mamba2', import.meta.url));

// Models that are large enough for a GPU take long to load.
vi.mock('../../../src/engine/load/choose-device.ts', () => ({
  chooseDevice: async (asked: string) => ({ device: asked === 'auto' ? 'cuda' : asked, reason: '' }),
}));

describe.runIf(need('g++'))('a GPU whose memory others have', () => {
  let driver: EmulatedDriver;
  beforeAll(async () => {
    driver = await buildEmulatedDriver(['FLOAT32']);
    process.env.MAMBA2_CUDA_LIBRARY = driver.library;
  });
  beforeEach(() => driver.reset(2 ** 20, -1));
  afterAll(() => {
    delete process.env.MAMBA2_CUDA_LIBRARY;
    driver.dispose();
  });

  test('is given up by `auto`, which says why', async () => {
    const llm = await LLM.load(GOLDEN, { device: 'auto' });
    expect(llm.device.device).toBe('cpu');
    expect(llm.device.reason).toMatch(/The NVIDIA GPU has too little free memory\. The model takes \d+ MB/);
    await llm.dispose();
  });

  test('is given up with the options that only it knows, which a warning says', async () => {
    const onWarning = vi.fn();
    const llm = await LLM.load(GOLDEN, { device: 'auto', replayssmBufferLen: 4, onWarning });
    expect(llm.device.device).toBe('cpu');
    expect(onWarning).toHaveBeenCalledExactlyOnceWith(expect.stringMatching(/replayssmBufferLen is 4.* on 'cpu'/));
    await llm.dispose();
  });

  test('is given up, too, where only the draft model has no room', async () => {
    driver.reset(2 ** 28 + 2 ** 25, -1);
    const speculativeConfig = { method: 'draft_model', model: GOLDEN, numSpeculativeTokens: 2 } as const;
    const llm = await LLM.load(GOLDEN, { device: 'auto', speculativeConfig });
    expect(llm.device.device).toBe('cpu');
    await llm.dispose();
  });

  test('is an error where it was asked for', async () => {
    await expect(LLM.load(GOLDEN, { device: 'cuda' })).rejects.toThrow(OutOfDeviceMemoryError);
  });
});
