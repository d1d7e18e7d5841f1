import { describe, expect, onTestFinished, test } from 'vitest';
import type { JsonObject } from '../../../src/checkpoint/json/json.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { endOfTextIds } from '../../../src/engine/load/end-of-text.ts';
import type { GenerationChunk } from '../../../src/engine/request/generation-chunk.ts';
import type { GenerateOptions } from '../../../src/engine/sample/sampling-params.ts';
import { ConfigError } from '../../../src/errors.ts';
import { goldenWithTokenizer } from '../golden-folder.ts';

async function load(config: Record<string, unknown>, files: Record<string, unknown> = {}): Promise<LLM> {
  const llm = await LLM.load(await goldenWithTokenizer({ config, files }), { device: 'reference' });
  onTestFinished(() => llm.dispose());
  return llm;
}

async function collect(chunks: AsyncIterable<GenerationChunk>): Promise<GenerationChunk[]> {
  const all: GenerationChunk[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return all;
}

/** What a model says that says one token only. */
async function says(llm: LLM, id: number, options: GenerateOptions = {}) {
  const answer = await llm.complete([7], { maxTokens: 4, temperature: 0, logitBias: { [id]: 100 }, ...options });
  return { reason: answer.finishReason, tokens: answer.tokenIds.length, text: answer.text };
}

describe('the end of a text', () => {
  const sources = (json: JsonObject, generationConfig: JsonObject, endTokenIds: number[] = []) =>
    endOfTextIds({ config: { eosTokenIds: [3], vocabSize: 10 }, json, generationConfig, tokenizer: { endTokenIds } });

  test('is what any file says', () => {
    expect(sources({}, {})).toEqual([3]);
    expect(sources({}, { eos_token_id: null }, [3, 1])).toEqual([3, 1]);
    expect(sources({ text_config: { eos_token_id: [5, 6] } }, { eos_token_id: [4, 3] }, [1])).toEqual([3, 5, 6, 4, 1]);
    expect(sources({ text_config: null }, {}, [10, 9])).toEqual([3, 9]);
    expect(sources({ text_config: { eos_token_id: -1 } }, { eos_token_id: [-1, 4] })).toEqual([3, 4]);
    for (const wrong of ['x', '4', -2, 1.5, [[4]], {}]) {
      expect(() => sources({}, { eos_token_id: wrong })).toThrow(ConfigError);
    }
  });

  const named = { 'tokenizer_config.json': { eos_token: '</s>', eot_token: { content: '<tool>' } } };

  test.each<[string, Record<string, unknown>, number[]]>([
    ['config.json names another token', { eos_token_id: 0 }, [0, 1, 2]],
    ['config.json names none', { eos_token_id: null }, [1, 2]],
  ])('is the end of the tokenizer, where %s', async (_, config, ids) => {
    const llm = await load(config, { ...named, 'generation_config.json': {} });
    expect([...llm.eosTokenIds].sort()).toEqual(ids);
    for (const id of ids) expect(await says(llm, id)).toEqual({ reason: 'stop', tokens: 1, text: '' });
    expect((await says(llm, 1, { ignoreEos: true })).tokens).toBe(4);
    expect((await says(llm, 1, { minTokens: 3 })).tokens).toBeGreaterThan(3);
    const session = llm.createSession();
    const chunks = await collect(session.generate([7], { maxTokens: 4, logitBias: { 2: 100 } }));
    expect(chunks.map(({ tokenId, finishReason }) => [tokenId, finishReason])).toEqual([[2, 'stop']]);
  });
});

describe('stop strings', () => {
  test('count special tokens, though the text leaves them out', async () => {
    const llm = await load({ eos_token_id: null }, { 'generation_config.json': {} });
    const plain = { reason: 'length', tokens: 4, text: '' };
    expect(await says(llm, 0, {})).toEqual(plain);
    expect(await says(llm, 0, { stop: '<s>' })).toEqual({ reason: 'stop', tokens: 1, text: '' });
    expect(await says(llm, 0, { stop: ['x', '<s><s>'] })).toEqual({ reason: 'stop', tokens: 2, text: '' });
    const kept = { stop: '<s>', includeStopStrInOutput: true };
    expect(await says(llm, 0, kept)).toEqual({ reason: 'stop', tokens: 1, text: '<s>' });
    expect(await says(llm, 0, { ...kept, skipSpecialTokens: false })).toEqual({
      reason: 'stop',
      tokens: 1,
      text: '<s>',
    });
    expect((await says(llm, 0, { stop: '<s>', minTokens: 3 })).tokens).toBe(4);
    expect(await says(llm, 0, { stop: 's>' })).toEqual(plain);
  });

  test('that are the end of text say so', async () => {
    const llm = await load({ eos_token_id: 1 });
    const options = { maxTokens: 4, temperature: 0, logitBias: { 1: 100 } };
    const last = async (stop: string) =>
      (await collect(llm.generate([7], { ...options, stop }))).map(({ stopReason }) => stopReason);
    expect(await last('</s>')).toEqual(['</s>']);
    expect(await last('other')).toEqual([null]);
  });
});
