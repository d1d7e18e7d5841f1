import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { JsonFileError, TokenizerError } from '../../src/errors.ts';
import { TextTokenizer } from '../../src/text/tokenizer.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { runs } from '../runs.ts';
import { bundledTokenizer, byteFallback, byteFallbackJson, metaspaceJson } from './tokenizers.ts';

const bundled = await bundledTokenizer();

interface Expected {
  cases: { prompt: string; input_ids: number[] }[];
}

describe('the bundled tokenizer', () => {
  test('encodes and decodes as transformers does', async () => {
    const path = new URL('../../models/tiny-dts/expected.json', import.meta.url);
    const { cases } = JSON.parse(await readFile(path, 'utf8')) as Expected;
    for (const { prompt, input_ids } of cases) {
      expect(bundled.encode(prompt)).toEqual(input_ids);
      expect(bundled.encode(prompt, { addSpecialTokens: false })).toEqual(input_ids.slice(1));
      expect(bundled.decode(input_ids)).toBe(prompt);
      expect(bundled.decode(input_ids, { skipSpecialTokens: false })).toBe(`<|endoftext|>${prompt}`);
    }
  });

  test('knows its tokens', () => {
    expect(bundled.vocabSize).toBe(4096);
    expect([bundled.bosToken, bundled.eosToken]).toEqual(['<|endoftext|>', '<|endoftext|>']);
    expect([bundled.bosTokenId, bundled.eosTokenId]).toEqual([0, 0]);
    expect([...bundled.specialTokenIds]).toEqual([0]);
    expect(bundled.encode('a<|endoftext|>b').filter((id) => id === 0)).toHaveLength(2);
    expect(() => bundled.assertFits(4096)).not.toThrow();
    expect(() => bundled.assertFits(4095)).toThrow(TokenizerError);
    expect(() => bundled.assertFits(4000)).toThrow(/ids up to 4095.*4000 rows/);
  });

  test('gives back any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        expect(bundled.decode(bundled.encode(text))).toBe(text);
      }),
      { seed: 1, numRuns: runs(500) },
    );
  });

  test('keeps spaces that clean-up would drop, and ignores unknown ids', () => {
    expect(bundled.decode(bundled.encode("a . b 's ?"))).toBe("a . b 's ?");
    expect(bundled.decode([])).toBe('');
    expect(bundled.decode([0])).toBe('');
    const [a] = bundled.encode('a', { addSpecialTokens: false });
    expect(bundled.decode([50_000, a, -1, 1.5])).toBe('a');
  });
});

describe('beginning of text', () => {
  const bos: JsonObject = { bos_token: { content: '<s>' } };
  const template: JsonObject = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
  };

  test('is what the post-processor says, whatever the flags of the config', () => {
    for (const tokenizer_class of ['PreTrainedTokenizerFast', 'GPTNeoXTokenizerFast', 'LlamaTokenizer', null]) {
      for (const flag of [true, false]) {
        const config = { ...bos, eos_token: '</s>', add_bos_token: flag, add_eos_token: flag, tokenizer_class };
        expect(new TextTokenizer(byteFallbackJson, config).encode('ab')).toEqual(byteFallback.encode('ab'));
        const templated = new TextTokenizer({ ...byteFallbackJson, post_processor: template }, config);
        expect(templated.encode('ab')).toEqual([0, ...byteFallback.encode('ab')]);
        expect(templated.encode('')).toEqual([0]);
        expect(templated.encode('ab', { addSpecialTokens: false })).toEqual(byteFallback.encode('ab'));
      }
    }
  });
});

describe('odd vocabularies', () => {
  test('leave out what they can not express', () => {
    const tokenizer = new TextTokenizer(metaspaceJson);
    expect(tokenizer.decode(tokenizer.encode('aЖb'))).toBe('ab');
  });

  test('may have gaps and special tokens in the config only', () => {
    const json = { model: { type: 'BPE', vocab: { a: 0, b: 9 }, merges: [] } };
    const tokenizer = new TextTokenizer(json, { additional_special_tokens: ['b', { content: 'none' }] });
    expect(tokenizer.vocabSize).toBe(10);
    expect([...tokenizer.specialTokenIds]).toEqual([9]);
    expect(tokenizer.decode([0, 5, 9])).toBe('a');
    expect(tokenizer.eosTokenId).toBeUndefined();
  });
});

describe('folders', () => {
  test('may hold no tokenizer', async () => {
    expect(await TextTokenizer.fromFolder(await makeFolder())).toBeUndefined();
  });

  test('may name special tokens in the map', async () => {
    const folder = await makeFolder({
      'tokenizer.json': byteFallbackJson,
      'special_tokens_map.json': { eos_token: '</s>', bos_token: 'x' },
      'tokenizer_config.json': { bos_token: '<s>' },
    });
    const tokenizer = await TextTokenizer.fromFolder(folder);
    expect([tokenizer?.bosToken, tokenizer?.eosToken]).toEqual(['x', '</s>']);
  });

  // What transformers 5.18 takes for eos_token, and all that end a text here.
  test.each<[string, JsonObject, JsonObject, string | undefined, number[]]>([
    ['the map counts more', { eos_token: '<s>' }, { eos_token: '</s>' }, '</s>', [1, 0]],
    [
      'unless the config lists tokens',
      { eos_token: '<s>', added_tokens_decoder: {} },
      { eos_token: '</s>' },
      '<s>',
      [0, 1],
    ],
    ['null says nothing', { eos_token: null }, { eos_token: { content: '</s>' } }, '</s>', [1]],
    ['nor in the map', { eos_token: '<s>' }, { eos_token: null }, '<s>', [0]],
    ['of either file', { eot_token: '<s>' }, { eos_token: '</s>' }, '</s>', [1, 0]],
    ['in a list', { eos_token: ['<s>', { content: '</s>' }, 'none'] }, {}, '<s>', [0, 1]],
    ['none', { eos_token: 5 }, {}, undefined, []],
  ])('may name several ends of a text: %s', async (_, config, map, eosToken, endTokenIds) => {
    const folder = await makeFolder({
      'tokenizer.json': byteFallbackJson,
      'special_tokens_map.json': map,
      'tokenizer_config.json': config,
    });
    const tokenizer = await TextTokenizer.fromFolder(folder);
    expect({ eosToken: tokenizer?.eosToken, ends: tokenizer?.endTokenIds }).toEqual({ eosToken, ends: endTokenIds });
  });

  test.each<[string, unknown, new (...args: never[]) => Error, RegExp]>([
    ['no JSON', '{', JsonFileError, /tokenizer\.json is not valid JSON/],
    ['a list', '[]', JsonFileError, /object/],
    ['no model', {}, TokenizerError, /'model' is nothing/],
    ['no vocabulary', { model: {} }, TokenizerError, /'model\.vocab' is nothing/],
    [
      'a huge id',
      { model: { type: 'BPE', vocab: { a: 1e9 }, merges: [] } },
      TokenizerError,
      /"a" has the id 1000000000/,
    ],
    [
      'an id that is text',
      { model: { type: 'BPE', vocab: { a: '1' }, merges: [] } },
      TokenizerError,
      /"a" has the id "1"/,
    ],
    ['no merges', { model: { type: 'BPE', vocab: { a: 0 } } }, TokenizerError, /can't be used/],
    ['an unknown decoder', { ...byteFallbackJson, decoder: { type: 'X' } }, TokenizerError, /Unknown Decoder type: X/],
    [
      'added tokens that are text',
      { ...byteFallbackJson, added_tokens: ['<s>'] },
      TokenizerError,
      /'added_tokens' holds "<s>"/,
    ],
    ['added tokens that are no list', { ...byteFallbackJson, added_tokens: {} }, TokenizerError, /expected a list/],
    ['an added id below 0', { ...byteFallbackJson, added_tokens: [{ id: -1, content: 'x' }] }, TokenizerError, /id -1/],
  ])('with %s are rejected', async (_, tokenizer, type, message) => {
    const error = await TextTokenizer.fromFolder(await makeFolder({ 'tokenizer.json': tokenizer })).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });
});
