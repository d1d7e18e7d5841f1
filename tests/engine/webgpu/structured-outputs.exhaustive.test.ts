import { describe, test } from 'vitest';
import { LLM } from '../../../src/index.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { need } from '../../needs/needs.ts';
import { assertSameInBatches } from '../forms-in-batches.ts';

describe.runIf(need('software-gpu'))('on webgpu, which chooses the tokens', () => {
  test('a form gives the same alone and among others, which it does not change', async () => {
    const llm = await LLM.load(TINY_DTS, { device: 'webgpu', maxNumSeqs: 3 });
    // A step takes seconds.
    await assertSameInBatches(llm, 3, [{ structuredOutputs: { regex: '[a-f]{4,8}' } }, {}, { temperature: 0 }]);
    await llm.dispose();
  });
});
