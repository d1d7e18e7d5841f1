import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { need } from '../../needs/needs.ts';
import { few } from '../../runs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { goldenOutputs, HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

vi.setConfig({ testTimeout: 900_000 });

/** What logits may differ from those of transformers at float32 weights. */
const TOLERANCE = 5e-3;

describe.runIf(need('software-gpu'))('a golden model on webgpu', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  // Loaded once each: to compile its kernels takes software longer than all that follows.
  test.each(few(['mamba2', ...HYBRIDS], 2))(
    '%s: logits; tokens alone, in a batch, from the prefix cache, from a file',
    async (name) => {
      const { inputIds, greedy, logits } = await goldenOutputs(hybridFolder(name));
      // Steps that end in the middle of chunks and blocks.
      const limits = { maxModelLen: 100, maxNumSeqs: 2, maxNumBatchedTokens: 20, snapshotInterval: 16 };
      await using llm = await LLM.load(hybridFolder(name), { device: 'webgpu', dtype: 'float32', ...limits });
      const actual = await llm.logits(inputIds);
      expect(actual).toHaveLength(logits.length);
      expect(actual.every((value, i) => Math.abs(value - logits[i]) < TOLERANCE)).toBe(true);

      const options = { temperature: 0, maxTokens: greedy.length, ignoreEos: true };
      const others = [inputIds.slice(0, 20), inputIds.toReversed()].map((ids) => llm.complete(ids, options));
      const [whole] = await Promise.all([llm.complete(inputIds, options), ...others]);
      expect(whole.tokenIds).toEqual(greedy);
      const { hits } = llm.engine.stats().prefixCache;
      expect((await llm.complete(inputIds, options)).tokenIds).toEqual(greedy);
      expect(llm.engine.stats().prefixCache.hits).toBeGreaterThan(hits);

      const session = llm.createSession();
      await session.append(inputIds.slice(0, 40));
      const loaded = await llm.loadSession(await session.save());
      const tokenIds: number[] = [];
      for await (const chunk of loaded.generate(inputIds.slice(40), options)) tokenIds.push(chunk.tokenId);
      expect(tokenIds).toEqual(greedy);
      llm.engine.checkIntegrity();
    },
  );
});
