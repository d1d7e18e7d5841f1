import { afterEach, describe, expect, test, vi } from 'vitest';
import type { ProgressEvent } from '../../../src/checkpoint/progress.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { NullGpu } from '../../null-gpu.ts';
import { hasGpu } from '../../software-gpu.ts';
import { GOLDEN } from '../golden-folder.ts';
import { HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

vi.setConfig({ testTimeout: 300_000 });

describe.skipIf(!hasGpu)('kernels are compiled while a model loads', () => {
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

  test('an abort meanwhile ends the load', async () => {
    gpu = await NullGpu.install();
    const aborting = new AbortController();
    const onProgress = ({ status }: ProgressEvent) => {
      if (status === 'compile') aborting.abort(new Error('enough'));
    };
    const loading = LLM.load(GOLDEN, { device: 'webgpu', onProgress, signal: aborting.signal });
    await expect(loading).rejects.toThrow('enough');
  });
});
