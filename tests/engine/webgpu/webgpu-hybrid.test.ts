import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { FaultyGpu, hasGpu } from '../../software-gpu.ts';
import { goldenOutputs, HYBRIDS, hybridFolder } from '../hybrid-folders.ts';

vi.setConfig({ testTimeout: 300_000 });

describe.skipIf(!hasGpu)('a hybrid on webgpu', () => {
  let gpu: FaultyGpu;
  beforeEach(async () => {
    gpu = await FaultyGpu.install();
  });
  afterEach(() => gpu.uninstall());

  test.each(HYBRIDS)('%s gives the golden tokens in a batch, over few blocks, and from a file', async (name) => {
    const { inputIds, greedy } = await goldenOutputs(hybridFolder(name));
    const limits = { maxModelLen: 100, maxNumSeqs: 2, maxNumBatchedTokens: 20, snapshotInterval: 16 };
    await using llm = await LLM.load(hybridFolder(name), { device: 'webgpu', ...limits });
    const options = { temperature: 0, maxTokens: greedy.length, ignoreEos: true };
    const others = [inputIds.slice(0, 20), inputIds.toReversed()].map((ids) => llm.complete(ids, options));
    const [whole] = await Promise.all([llm.complete(inputIds, options), ...others]);
    expect(whole.tokenIds).toEqual(greedy);
    const session = llm.createSession();
    await session.append(inputIds.slice(0, 40));
    const again = await llm.loadSession(await session.save());
    const tokenIds: number[] = [];
    for await (const chunk of again.generate(inputIds.slice(40), options)) tokenIds.push(chunk.tokenId);
    expect(tokenIds).toEqual(greedy);
    llm.engine.checkIntegrity();
  });
});
