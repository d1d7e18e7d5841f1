import { describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { Sequence } from '../../../src/engine/request/request.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { chunksOf } from '../../engine/chunks-of.ts';
import { stopClock } from '../../engine/engine-rig.ts';
import { predictingFolder } from '../../engine/speculate/predicting-folder.ts';

/** Tests guesses of a model's own layers. @param driver gives the path of the driver's library. */
export function describePredictor(driver: () => string): void {
  describe('layers for multi-token prediction', () => {
    test('guess all tokens in one step, and change none', async () => {
      process.env.MAMBA2_CUDA_LIBRARY = driver();
      const folder = await predictingFolder(0);
      const options = { temperature: 0, maxTokens: 24, ignoreEos: true };
      const prompts = [[5, 8, 13, 21, 34], Array.from({ length: 33 }, (_, i) => (7 * i) % 37)];
      const common = { dtype: 'float32', maxModelLen: 128, maxNumSeqs: 2 } as const;
      await using cpu = await LLM.load(folder, { ...common, device: 'cpu' });
      const speculativeConfig = { method: 'mtp', numSpeculativeTokens: 3 } as const;
      await using llm = await LLM.load(folder, { ...common, device: 'cuda', speculativeConfig });
      const complete = async (model: LLM) => {
        const answers = await Promise.all(prompts.map((prompt) => model.complete(prompt, options)));
        return answers.map(({ tokenIds }) => tokenIds);
      };
      expect(await complete(llm)).toEqual(await complete(cpu));
      const { draftTokens, acceptedTokensPerPosition = [] } = llm.engine.stats().speculation ?? {};
      expect(draftTokens).toBeGreaterThan(0);
      expect(acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0)).toBe(draftTokens);
    }, 300_000);

    test('change no bit of what the device chooses at guessed places', async () => {
      stopClock();
      process.env.MAMBA2_CUDA_LIBRARY = driver();
      const folder = await predictingFolder(0.05);
      const requests: readonly GenerateOptions[] = [
        { temperature: 0 },
        { temperature: 0.2, seed: 1, topP: 0.9, presencePenalty: 0.05 },
      ];
      const common = { device: 'cuda', dtype: 'float32', maxModelLen: 64, maxNumSeqs: 2 } as const;
      await using plain = await LLM.load(folder, common);
      const speculativeConfig = { method: 'mtp', numSpeculativeTokens: 3 } as const;
      await using llm = await LLM.load(folder, { ...common, speculativeConfig });
      const answers = (model: LLM) =>
        Promise.all(
          requests.map((options) => chunksOf(model, [5, 8, 14], { maxTokens: 16, ignoreEos: true, ...options })),
        );
      const expected = await answers(plain);
      const sample = vi.spyOn(Sequence.prototype, 'sample');
      expect(await answers(llm)).toEqual(expected);
      expect(sample).not.toHaveBeenCalled();
      sample.mockRestore();
      const { draftTokens = 0, acceptedTokensPerPosition = [] } = llm.engine.stats().speculation ?? {};
      const accepted = acceptedTokensPerPosition.reduce((sum, count) => sum + count, 0);
      expect(accepted).toBeGreaterThan(0);
      expect(accepted).toBeLessThan(draftTokens);
    }, 300_000);
  });
}
