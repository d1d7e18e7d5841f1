import { afterAll, describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { SamplingParamsError, StructuredOutputsError, TokenIdError } from '../../src/errors.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { assertSameInBatches } from './forms-in-batches.ts';

const llm = await LLM.load(TINY_DTS, { maxNumSeqs: 6 });
afterAll(() => llm.dispose());
const prompt = 'export interface User {';
const ids = (text: string) => llm.tokenizer?.encode(text, { addSpecialTokens: false }) ?? [];
const eos = llm.tokenizer?.eosTokenId ?? 0;

describe('allowedTokenIds', () => {
  test('are the only tokens of an answer, however it is chosen', async () => {
    const allowedTokenIds = [...ids('a b c d'), ...ids('0123')];
    for (const options of [{ temperature: 0 }, { temperature: 2 }, { topK: 3 }, { repetitionPenalty: 1.5 }, { n: 3 }]) {
      const { choices } = await llm.complete(prompt, { allowedTokenIds, maxTokens: 12, seed: 3, ...options });
      for (const { tokenIds, finishReason } of choices) {
        expect(tokenIds).toHaveLength(12);
        expect(finishReason).toBe('length');
        for (const id of tokenIds) expect(allowedTokenIds).toContain(id);
      }
    }
  });

  test('end the answer only where they can', async () => {
    const { finishReason, tokenIds } = await llm.complete(prompt, { allowedTokenIds: [eos], maxTokens: 5 });
    expect({ finishReason, tokenIds }).toEqual({ finishReason: 'stop', tokenIds: [eos] });
  });

  test('are the same alone and among others', async () => {
    const allowedTokenIds = ids('a b c d e f');
    await assertSameInBatches(llm, 8, [
      { allowedTokenIds },
      {},
      { allowedTokenIds, temperature: 0 },
      { temperature: 0 },
    ]);
  });

  test('go with a form, as far as they can', async () => {
    const form = { structuredOutputs: { choice: ['yes', 'no'] }, maxTokens: 10, temperature: 0 };
    const both = await llm.complete(prompt, {
      ...form,
      allowedTokenIds: [...ids('no'), ...ids('n'), ...ids('o'), eos],
    });
    expect(both.text).toBe('no');
    const neither = llm.complete(prompt, { ...form, allowedTokenIds: ids('7') });
    await expect(neither).rejects.toThrow(StructuredOutputsError);
    await expect(neither).rejects.toThrow(/^No token of allowedTokenIds can continue/);
  });

  test('have probabilities before and after', async () => {
    const [allowed] = ids('a');
    for (const [logprobsMode, expected] of [
      ['raw_logprobs', expect.any(Number)],
      ['processed_logprobs', 0],
    ] as const) {
      const options = { allowedTokenIds: [allowed], maxTokens: 1, logprobs: 2, logprobsMode };
      for await (const { logprob } of llm.generate(prompt, options)) expect(logprob).toEqual(expected);
    }
  });

  test('are refused where they leave nothing', async () => {
    const complete = (options: object) => llm.complete(prompt, { maxTokens: 4, ...options });
    await expect(complete({ allowedTokenIds: [] })).rejects.toThrow(/allowedTokenIds is empty/);
    await expect(complete({ allowedTokenIds: [-1] })).rejects.toThrow(SamplingParamsError);
    await expect(complete({ allowedTokenIds: [1.5] })).rejects.toThrow(/has the id 1.5/);
    await expect(complete({ allowedTokenIds: [llm.config.vocabSize] })).rejects.toThrow(TokenIdError);
    const nothing = complete({ allowedTokenIds: [eos], minTokens: 2 });
    await expect(nothing).rejects.toMatchObject({ param: 'allowedTokenIds' });
    await expect(nothing).rejects.toThrow(/badWords or minTokens forbid/);
  });
});

describe('truncatePromptTokens', () => {
  test('keeps the last tokens', async () => {
    const tokenIds = await llm.encode(prompt);
    for (const count of [1, 3, tokenIds.length, tokenIds.length + 5]) {
      const { promptTokenIds, text } = await llm.complete(prompt, {
        truncatePromptTokens: count,
        maxTokens: 4,
        seed: 1,
      });
      expect(promptTokenIds).toEqual(tokenIds.slice(-count));
      expect((await llm.complete(tokenIds.slice(-count), { maxTokens: 4, seed: 1 })).text).toBe(text);
    }
  });

  test('of -1 keeps as many as fit', async () => {
    await using short = await LLM.load(TINY_DTS, { maxModelLen: 12 });
    const tokenIds = await short.encode(prompt.repeat(4));
    await expect(short.complete(tokenIds, { maxTokens: 4 })).rejects.toThrow(/12/);
    const { promptTokenIds } = await short.complete(tokenIds, { maxTokens: 4, truncatePromptTokens: -1 });
    expect(promptTokenIds).toEqual(tokenIds.slice(-8));
  });

  test.each([0, -2, 1.5])('of %d is refused', async (truncatePromptTokens) => {
    const refused = llm.complete(prompt, { truncatePromptTokens });
    await expect(refused).rejects.toMatchObject({ param: 'truncatePromptTokens' });
  });
});

test('promptLogprobs come with the first chunk and with the whole', async () => {
  const options = { promptLogprobs: 3, maxTokens: 3, temperature: 0 };
  const { promptTokenIds, promptLogprobs } = await llm.complete(prompt, options);
  const [first, ...others] = [...(promptLogprobs ?? [])];
  expect(first).toBeNull();
  expect(others.map((token) => token?.tokenId)).toEqual(promptTokenIds.slice(1));
  for (const token of others) {
    const place = token?.topLogprobs.findIndex(({ tokenId }) => tokenId === token.tokenId) ?? -1;
    if (place >= 0) expect(token?.rank).toBe(place + 1);
    else expect(token?.rank).toBeGreaterThan(3);
  }
  const chunks: boolean[] = [];
  for await (const chunk of llm.generate(prompt, options)) chunks.push(chunk.promptLogprobs !== undefined);
  expect(chunks).toEqual([true, false, false]);
});
