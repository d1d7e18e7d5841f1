import { describe, test } from 'vitest';
import { LLM } from '../../../src/index.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { need } from '../../needs/needs.ts';
import { assertSameInBatches } from '../forms-in-batches.ts';

describe.runIf(need('software-gpu'))('on webgpu, which chooses the tokens', () => {
  test('a form gives the same alone and among others, which it does not change', async () => {
    const llm = await LLM.load(TINY_DTS, { device: 'webgpu', maxNumSeqs: 6 });
    await assertSameInBatches(llm, 8);
    await llm.dispose();
  });
});
