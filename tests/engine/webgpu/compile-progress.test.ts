import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { GREEDY } from '../../../src/backends/contract/sampling.ts';
import { GpuKernels, type Kernel } from '../../../src/backends/webgpu/device/kernel.ts';
import { CommandQueue } from '../../../src/backends/webgpu/graph/command-queue.ts';
import type { ProgressEvent } from '../../../src/checkpoint/net/progress.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { loadModel } from '../../../src/engine/load/load-model.ts';
import { need } from '../../needs/needs.ts';
import { NullGpu, NVIDIA, type Pretence } from '../../null-gpu.ts';
import { isFullRun } from '../../runs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';
import { HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

vi.setConfig({ testTimeout: 300_000 });

const BUNDLED = fileURLToPath(new URL('../../../models/tiny-dts/', import.meta.url));

describe.runIf(need('dawn'))('kernels are compiled while a model loads', () => {
  let gpu: NullGpu | undefined;
  afterEach(() => gpu?.uninstall());

  test('with progress, one by one to the last', async () => {
    gpu = await NullGpu.install();
    const events: ProgressEvent[] = [];
    await using _ = await LLM.load(GOLDEN, { device: 'webgpu', onProgress: (event) => events.push(event) });
    const compiled = events.filter(({ status }) => status === 'compile');
    const { total = 0 } = compiled[0];
    expect(total).toBeGreaterThan(5);
    expect(compiled.map(({ loaded }) => loaded)).toEqual(Array.from({ length: total }, (_, i) => i + 1));
    expect(compiled.every((event) => event.total === total)).toBe(true);
    expect(compiled.at(-1)?.progress).toBe(100);
    const order = [...new Set(events.map(({ status }) => status))];
    expect(order.slice(-3)).toEqual(['load', 'compile', 'ready']);
  });

  test.each([GOLDEN, ...HYBRIDS.map(hybridFolder)])('none is left for the first request: %s', async (folder) => {
    gpu = await NullGpu.install();
    await using llm = await LLM.load(folder, { device: 'webgpu' });
    const loaded = [...gpu.kernels];
    expect(loaded.length).toBeGreaterThan(5);
    await llm.complete([1, 2, 3, 4, 5, 6, 7, 8], { temperature: 0, maxTokens: 3, ignoreEos: true });
    expect([...gpu.kernels]).toEqual(loaded);
  });

  const devices: Readonly<Record<string, Pretence>> = {
    'an NVIDIA card': NVIDIA,
    'another card': { info: { architecture: '', description: '', isFallbackAdapter: false } },
  };
  test.each(Object.keys(devices))('none is left for decodes of any number of sequences: %s', async (name) => {
    gpu = await NullGpu.install(devices[name]);
    const asked = vi.spyOn(GpuKernels.prototype, 'get');
    // What pretends to be another device can't run: steps are planned only.
    const flushed = vi.spyOn(CommandQueue.prototype, 'flush').mockReturnValue();
    onTestFinished(() => {
      asked.mockRestore();
      flushed.mockRestore();
    });
    const askedFor = () => asked.mock.results.map(({ value }) => (value as Kernel).name);
    const maxNumSeqs = 270;
    const { executor } = (await loadModel(GOLDEN, { device: 'webgpu', dtype: 'float16', maxNumSeqs })).context;
    const loaded = new Set(askedFor());
    const steps: Promise<unknown>[] = [];
    const counts = Array.from({ length: maxNumSeqs }, (_, i) => i + 1);
    // Each of the first few, around the multiples of what kernels take at once, and the last.
    const few = counts.filter((rows) => rows <= 18 || rows % 32 < 2 || rows === maxNumSeqs);
    for (const rows of isFullRun ? counts : few) {
      asked.mockClear();
      const sequences = Array.from({ length: rows }, (_, slot) => ({
        ...{ slot, numComputedTokens: 1, tokenIds: [1], sampling: [GREEDY] },
      }));
      steps.push(executor.execute({ sequences, logits: 'last' }));
      expect(askedFor().length).toBeGreaterThan(5);
      expect(
        askedFor().filter((kernel) => !loaded.has(kernel)),
        `${rows} rows`,
      ).toEqual([]);
    }
    const ended = Promise.allSettled(steps);
    await executor.dispose();
    await ended;
  });

  test('an abort meanwhile ends the load', async () => {
    gpu = await NullGpu.install();
    const aborting = new AbortController();
    const onProgress = ({ status }: ProgressEvent) => {
      if (status === 'compile') aborting.abort(new Error('enough'));
    };
    const loading = LLM.load(GOLDEN, { device: 'webgpu', onProgress, signal: aborting.signal });
    await expect(loading).rejects.toThrow('enough');
  });

  test.runIf(need('software-gpu'))(
    'an abort ends it though kernels are compiling, which hold up neither the thread nor, for long, the device',
    async () => {
      const software = await FaultyGpu.install();
      onTestFinished(() => software.uninstall());
      const aborting = new AbortController();
      let begun = 0;
      software.onDevice = (device) => {
        const createComputePipelineAsync = device.createComputePipelineAsync.bind(device);
        device.createComputePipelineAsync = (descriptor) => {
          const pipeline = createComputePipelineAsync(descriptor);
          if (begun++ > 0) return pipeline;
          setTimeout(() => aborting.abort(new Error('enough')), 100);
          // However quick the machine is: the load can't end before the abort, as one kernel is not there.
          return new Promise((resolve) => aborting.signal.addEventListener('abort', () => resolve(pipeline)));
        };
      };
      const compiled: ProgressEvent[] = [];
      const onProgress = (event: ProgressEvent) => event.status === 'compile' && compiled.push(event);
      let begunBefore = 0;
      aborting.signal.addEventListener('abort', () => {
        begunBefore = begun;
      });
      const loading = LLM.load(BUNDLED, { device: 'webgpu', onProgress, signal: aborting.signal });
      await expect(loading).rejects.toThrow('enough');
      // Only kernels whose turn had come before the abort were begun, and none of the many that waited.
      expect(begun).toBeLessThanOrEqual(begunBefore + 2);
      const known = { begun, compiled: compiled.length };
      expect(await software.devices[0].lost).toMatchObject({ reason: 'destroyed' });
      expect({ begun, compiled: compiled.length }).toEqual(known);
    },
  );
});
