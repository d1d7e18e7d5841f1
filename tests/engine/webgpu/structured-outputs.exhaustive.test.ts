import { describe, expect, test } from 'vitest';
import { LLM } from '../../../src/index.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';
import { need } from '../../needs/needs.ts';
import { assertSameInBatches } from '../forms-in-batches.ts';

// A step of a GPU made of software takes seconds.
describe.runIf(need('software-gpu'))('on webgpu, which chooses the tokens', () => {
  test('a form, and tokens that are allowed, give the same alone and among others, which they do not change', {
    timeout: 600_000,
  }, async () => {
    const llm = await LLM.load(TINY_DTS, { device: 'webgpu', maxNumSeqs: 3, maxNumBatchedTokens: 16 });
    const allowedTokenIds = llm.tokenize('a b c d', { addSpecialTokens: false });
    const requests = [{ structuredOutputs: { regex: '[a-f]{4,8}' } }, { allowedTokenIds }, { temperature: 0 }];
    const [, [allowed]] = await assertSameInBatches(llm, 3, requests);
    expect(allowed).toMatch(/^length: [ a-d]{3,}$/);
    await llm.dispose();
  });
});
