import { describe, expect, test } from 'vitest';
import { AsyncLLMEngine } from '../../src/engine/async-llm-engine.ts';
import { loadModel } from '../../src/engine/load-model.ts';
import { resolveSamplingParams } from '../../src/engine/sampling-params.ts';
import { GOLDEN } from './golden-folder.ts';

describe('an engine whose ranks fail', () => {
  test('ends what runs, loads the ranks again, and goes on with what waits', async () => {
    const options = { tensorParallelSize: 2, maxNumSeqs: 1, recover: true };
    const { context } = await loadModel(GOLDEN, options);
    const engine = new AsyncLLMEngine(context);
    const add = (promptTokenIds: number[], maxTokens: number) => {
      const params = resolveSamplingParams({ temperature: 0, maxTokens, ignoreEos: true }, {});
      return engine.addRequest({ promptTokenIds, params });
    };
    const tokensOf = async (stream: ReturnType<typeof add>) => {
      const tokenIds: number[] = [];
      for await (const { outputs } of stream) {
        for (const { tokens } of outputs) tokenIds.push(...tokens.map(({ tokenId }) => tokenId));
      }
      return tokenIds;
    };
    const expected = await tokensOf(add([1, 2, 3], 4));
    const running = add([4, 5], 1000);
    await running.next();
    const waiting = add([1, 2, 3], 4);
    // A slot that no rank has: what a rank can't do ends it, and the others with it.
    const sequences = [{ slot: 99, numComputedTokens: 0, tokenIds: [1] }];
    await expect(context.executor.execute({ sequences, logits: 'last' })).rejects.toThrow(/slot 99/);
    await expect(tokensOf(running)).rejects.toThrow(/slot 99/);
    expect(await tokensOf(waiting)).toEqual(expected);
    expect(engine.stats()).toMatchObject({ recoveries: 1, freeSlots: 1 });
    await engine.dispose();
  }, 120_000);
});
