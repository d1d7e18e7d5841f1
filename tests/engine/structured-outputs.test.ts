import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DisposedError, type GenerateOptions, LLM, StructuredOutputsError } from '../../src/index.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { assertSameInBatches, REQUESTS } from './forms-in-batches.ts';

const PROMPT = 'export interface User {';
async function answers(llm: LLM, options: GenerateOptions): Promise<string[]> {
  const { choices } = await llm.complete(PROMPT, { maxTokens: 60, seed: 1, ...options });
  return choices.map(({ text, finishReason }) => `${finishReason}: ${text}`);
}

test('a form gives the same alone and among others, which it does not change', async () => {
  const llm = await LLM.load(TINY_DTS, { device: 'cpu', maxNumSeqs: 6 });
  const texts = await assertSameInBatches(llm, 60, REQUESTS);
  for (const text of texts[2]) expect(text).toMatch(/^(stop|length): [a-f]{1,8}$/);
  expect(texts[4][0]).toMatch(/^stop: (yes|no|perhaps)$/);
  await llm.dispose();
});

describe('a form', () => {
  let llm: LLM;
  beforeAll(async () => {
    llm = await LLM.load(TINY_DTS, { device: 'cpu', maxNumSeqs: 2 });
  });
  afterAll(() => llm.dispose());

  test('survives pre-emption, and is the same from the prefix cache', async () => {
    const options = { structuredOutputs: { regex: '([a-z]{2} ){20}' }, temperature: 1, priority: 5 };
    const [alone] = await answers(llm, options);
    const first = answers(llm, options);
    const others: Promise<string[]>[] = [];
    for (let i = 0; i < 6; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      others.push(answers(llm, { maxTokens: 4, priority: 0, seed: i, n: 2 }));
    }
    expect(await first).toEqual([alone]);
    await Promise.all(others);
    expect(await answers(llm, options)).toEqual([alone]);
  });

  test('ends where it is complete, whatever minTokens and ignoreEos ask for', async () => {
    const structuredOutputs = { regex: 'ab?' };
    expect(await answers(llm, { structuredOutputs, minTokens: 20 })).toEqual(['stop: ab']);
    expect(await answers(llm, { structuredOutputs, ignoreEos: true })).toEqual(['stop: ab']);
  });

  test('ends at a stop string, or where there are tokens enough', async () => {
    expect(await answers(llm, { structuredOutputs: { regex: 'abcd' }, stop: 'c' })).toEqual(['stop: ab']);
    const [cut] = await answers(llm, { structuredOutputs: { regex: '[a-z]{200}' }, maxTokens: 3 });
    expect(cut).toMatch(/^length: [a-z]+$/);
  });

  test('logprobs are of all tokens, or of those that may come', async () => {
    const options = { structuredOutputs: { choice: ['x'] }, logprobs: 20 } as const;
    const of = async (logprobsMode: 'raw_logprobs' | 'processed_logprobs') => {
      for await (const chunk of llm.generate(PROMPT, { ...options, logprobsMode })) return chunk;
      throw new Error('There is no answer.');
    };
    const raw = await of('raw_logprobs');
    expect(raw.logprob).toBeLessThan(0);
    expect(raw.topLogprobs).toHaveLength(20);
    const processed = await of('processed_logprobs');
    expect(processed.topLogprobs).toEqual([{ tokenId: processed.tokenId, logprob: 0 }]);
  });

  test('continues a session', async () => {
    const session = llm.createSession();
    let text = '';
    for await (const chunk of session.generate(PROMPT, { structuredOutputs: { choice: ['left'] } })) text += chunk.text;
    for await (const chunk of session.generate(' and ', { structuredOutputs: { choice: ['right'] } }))
      text += chunk.text;
    expect(text).toBe('leftright');
  });

  test.each<[NonNullable<GenerateOptions['structuredOutputs']>, string]>([
    [{ regex: '[^\\0-\\u{10ffff}]' }, 'matches no text'],
    [{ grammar: 'root ::= [' }, "can't be compiled"],
    [{ json: { not: {} } }, "'not'"],
    [{ structuralTag: { type: 'structural_tag', format: { type: 'unknown' } } }, '"unknown"'],
    [{ json: '{' }, 'no JSON'],
  ])('%j is refused', async (structuredOutputs, words) => {
    const refused = answers(llm, { structuredOutputs });
    await expect(refused).rejects.toThrow(StructuredOutputsError);
    await expect(refused).rejects.toThrow(words);
  });

  test('what forbids its only tokens ends that answer alone', async () => {
    const structuredOutputs = { choice: ['x'] };
    const [id] = llm.tokenize('x', { addSpecialTokens: false });
    const forbidden = answers(llm, { structuredOutputs, badWords: ['x'] });
    const free = answers(llm, {});
    await expect(forbidden).rejects.toThrow();
    expect(await free).toHaveLength(1);
    expect(await answers(llm, { structuredOutputs, logitBias: { [id]: -100 } })).toEqual(['stop: x']);
  });

  test('an abort ends it, also while it is compiled', async () => {
    const structuredOutputs = { regex: '[a-z]{1,60} [A-Z]{1,60}' };
    const signal = AbortSignal.timeout(1);
    await expect(answers(llm, { structuredOutputs, signal })).rejects.toThrow('timeout');
    expect((await answers(llm, { structuredOutputs }))[0]).toMatch(/: [a-z]/);
  });
});

test('a model that is disposed of ends what is compiled and what runs', async () => {
  const llm = await LLM.load(TINY_DTS, { device: 'cpu' });
  const running = answers(llm, { structuredOutputs: { regex: '[a-z]{1000}' }, maxTokens: 900 });
  // It runs where it has been compiled by the time that the model is disposed of.
  const compiling = answers(llm, { structuredOutputs: { regex: '[A-Z]{1000}' }, maxTokens: 900 });
  const settled = Promise.allSettled([running, compiling]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await llm.dispose();
  for (const each of await settled) expect(each).toMatchObject({ reason: expect.any(DisposedError) });
});
