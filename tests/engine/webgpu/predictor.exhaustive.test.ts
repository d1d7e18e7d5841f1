import { expect, onTestFinished, test, vi } from 'vitest';
import { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { Sequence } from '../../../src/engine/request/request.ts';
import { need } from '../../needs/needs.ts';
import { predictingFolder } from '../speculate/predicting-folder.ts';

vi.setConfig({ testTimeout: 900_000 });

test.runIf(need('software-gpu'))('layers for multi-token prediction guess on a GPU, and change no token', async () => {
  const folder = await predictingFolder(0);
  // Only the kernels that are used: software compiles them slowly.
  vi.spyOn(WebGpuBackend.prototype, 'prepare').mockResolvedValue();
  onTestFinished(() => void vi.restoreAllMocks());
  const speculativeConfig = { method: 'mtp', numSpeculativeTokens: 2 } as const;
  const options = { temperature: 0, maxTokens: 10, ignoreEos: true };
  await using cpu = await LLM.load(folder, { device: 'cpu', dtype: 'float32' });
  await using llm = await LLM.load(folder, { device: 'webgpu', dtype: 'float32', maxModelLen: 64, speculativeConfig });
  const sample = vi.spyOn(Sequence.prototype, 'sample');
  const { tokenIds } = await llm.complete([5], options);
  // Logits stay where they are, those at guessed places, too.
  expect(sample).not.toHaveBeenCalled();
  expect(tokenIds).toEqual((await cpu.complete([5], options)).tokenIds);
  const { draftTokens, acceptedTokensPerPosition = [] } = llm.engine.stats().speculation ?? {};
  expect(draftTokens).toBeGreaterThan(0);
  expect(acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0)).toBe(draftTokens);
});
