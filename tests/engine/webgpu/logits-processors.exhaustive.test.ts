import { describe, test } from 'vitest';
import { LLM, type LogitsProcessor } from '../../../src/index.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { need } from '../../needs/needs.ts';
import { assertSameInBatches } from '../forms-in-batches.ts';

const everySecond: LogitsProcessor = (tokenIds, logits) => {
  for (let id = tokenIds.length % 2; id < logits.length; id += 2) logits[id] -= 5;
};

describe.runIf(need('software-gpu'))('on webgpu, which chooses the tokens', () => {
  test('a logits processor gives the same alone and among others, which it does not change', async () => {
    const llm = await LLM.load(TINY_DTS, { device: 'webgpu', maxNumSeqs: 3, maxNumBatchedTokens: 16 });
    // A step takes seconds.
    await assertSameInBatches(llm, 3, [{ logitsProcessors: [everySecond] }, {}, { temperature: 0 }]);
    await llm.dispose();
  });
});
