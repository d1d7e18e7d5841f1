import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { TokenizerError } from '../../src/errors.ts';
import { BYTES_OF_CHARACTERS } from '../../src/text/byte-alphabet.ts';
import { TextTokenizer } from '../../src/text/tokenizer.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { byteFallback, byteFallbackJson } from './tokenizers.ts';

interface Expected {
  readonly kinds: readonly {
    readonly name: string;
    readonly json: JsonObject;
    /** A text, its ids, and their text with special tokens and without. */
    readonly cases: readonly (readonly [string, readonly number[], string, string])[];
  }[];
}

const expected: Expected = JSON.parse(await readFile(new URL('tokenizers-expected.json', import.meta.url), 'utf8'));

describe.each(expected.kinds)('$name', ({ json, cases }) => {
  const tokenizer = new TextTokenizer(json);

  test('finds added tokens, and takes white space for them, as the Rust library does', () => {
    for (const [text, ids] of cases) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
  });

  test('decodes as the Rust library does', () => {
    for (const [, ids, whole, plain] of cases) {
      expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(whole);
      expect(tokenizer.decode(ids)).toBe(plain);
    }
  });
});

const START = { content: '<|im_start|>', special: true };
const END = { content: '<|im_end|>', special: true };
const size = byteFallback.vocabSize;

/** A text of both tokens, and what it is with these files around the tokenizer. */
async function withFiles(files: Record<string, JsonObject>, vocabSize?: number) {
  const folder = await makeFolder({ 'tokenizer.json': byteFallbackJson, ...files });
  const json = vocabSize === undefined ? {} : (files['tokenizer_config.json'] ?? {});
  const tokenizer =
    vocabSize === undefined
      ? await TextTokenizer.fromFolder(folder)
      : new TextTokenizer(byteFallbackJson, json, vocabSize);
  if (!tokenizer) throw new Error('the folder has a tokenizer');
  const ids = tokenizer.encode('<|im_start|><|im_end|>');
  return { tokenizer, ids: ids.length < 4 ? ids : 'letters' };
}

describe('tokens of files next to tokenizer.json', () => {
  test('come from added_tokens_decoder', async () => {
    const added_tokens_decoder = { 300: START, 301: END };
    const { tokenizer, ids } = await withFiles({
      'tokenizer_config.json': { eos_token: '<|im_end|>', added_tokens_decoder },
    });
    expect(ids).toEqual([300, 301]);
    expect(tokenizer.eosTokenId).toBe(301);
    expect(tokenizer.vocabSize).toBe(302);
    expect([...tokenizer.specialTokenIds]).toEqual([0, 1, 300, 301]);
    expect(tokenizer.decode([300, 301], { skipSpecialTokens: false })).toBe('<|im_start|><|im_end|>');
    expect(tokenizer.decode([300, 301])).toBe('');
  });

  test('come from added_tokens.json, unless the config lists them', async () => {
    const added = { 'added_tokens.json': { '<|im_start|>': 300, '<|im_end|>': 301 } };
    expect((await withFiles(added)).ids).toEqual([300, 301]);
    const named = await withFiles({ ...added, 'special_tokens_map.json': { eos_token: END } });
    expect([...named.tokenizer.specialTokenIds]).toEqual([0, 1, 301]);
    const listed = { 'tokenizer_config.json': { added_tokens_decoder: { 400: START, 401: END } } };
    expect((await withFiles({ ...added, ...listed })).ids).toEqual([400, 401]);
  });

  test.each<[string, JsonObject]>([
    ['named ones', { bos_token: '<|im_start|>', eos_token: END }],
    ['named ones of other parts', { turn_token: '<|im_start|>', eot_token: '<|im_end|>' }],
    ['extra_special_tokens in a list', { extra_special_tokens: ['<|im_start|>', END] }],
    ['extra_special_tokens by part', { extra_special_tokens: { a_token: '<|im_start|>', b_token: '<|im_end|>' } }],
    ['additional_special_tokens', { additional_special_tokens: [START, '<|im_end|>'] }],
  ])('get the next free id where no file has one and the model has a row: %s', async (_, config) => {
    const files = { 'tokenizer_config.json': config };
    const roomy = await withFiles(files, size + 2);
    expect(roomy.ids).toEqual([size, size + 1]);
    expect([...roomy.tokenizer.specialTokenIds]).toEqual([0, 1, size, size + 1]);
    expect((await withFiles(files, size)).ids).toBe('letters');
    expect((await withFiles(files)).ids).toBe('letters');
  });

  test('override the flags of tokenizer.json', () => {
    const flags = (entry: JsonObject) => new TextTokenizer(byteFallbackJson, { added_tokens_decoder: { 2: entry } });
    const { specialTokenIds } = flags({ content: '<tool>', special: true });
    expect([...specialTokenIds]).toEqual([0, 1, 2]);
    const plain = byteFallback.encode('a <tool> b');
    const stripped = flags({ content: '<tool>', lstrip: true, rstrip: true }).encode('a <tool> b');
    // A space before it, and one after it.
    expect(plain.length - stripped.length).toBe(2);
    expect(flags({ content: '<s>' }).encode('<s>')).toEqual([0]);
    expect([
      ...new TextTokenizer(byteFallbackJson, { added_tokens_decoder: { 0: { content: '<s>', special: false } } })
        .specialTokenIds,
    ]).toEqual([1]);
  });

  test('may give a reserved id another text', () => {
    const tokenizer = new TextTokenizer(byteFallbackJson, { added_tokens_decoder: { 2: START } });
    expect(tokenizer.encode('<|im_start|>')).toEqual([2]);
    expect(tokenizer.decode([2], { skipSpecialTokens: false })).toBe('<|im_start|>');
  });

  test('name what ends a text', () => {
    const ends = (config: JsonObject) => new TextTokenizer(byteFallbackJson, config).endTokenIds;
    expect(ends({})).toEqual([]);
    expect(ends({ eos_token: null })).toEqual([]);
    expect(ends({ eos_token: '</s>' })).toEqual([1]);
    expect(ends({ eos_token: { content: '</s>' }, eot_token: '<tool>' })).toEqual([1, 2]);
    expect(ends({ eos_token: '</s>', extra_special_tokens: { eot_token: '<tool>' } })).toEqual([1, 2]);
    expect(ends({ eos_token: '<none>' })).toEqual([]);
  });

  test.each<[JsonObject, RegExp]>([
    [{ added_tokens_decoder: [] }, /tokenizer_config\.json is malformed: 'added_tokens_decoder' is \[\]/],
    [{ added_tokens_decoder: { 3: 5 } }, /'added_tokens_decoder' holds 5, expected \{content, …\}/],
    [{ added_tokens_decoder: { x: START } }, /has the id "x"/],
    [{ added_tokens_decoder: { 99999999: START } }, /has the id 99999999/],
  ])('are checked: %j', (config, message) => {
    expect(() => new TextTokenizer(byteFallbackJson, config)).toThrow(TokenizerError);
    expect(() => new TextTokenizer(byteFallbackJson, config)).toThrow(message);
  });
});

describe('tokens outside of the model', () => {
  const bpe = (vocab: Record<string, number>, merges: string[] = [], parts: JsonObject = {}) =>
    new TextTokenizer({ model: { type: 'BPE', vocab, merges, ...parts } });

  test('are no matter where a tokenizer writes bytes, and has all of them', () => {
    const characters = [...BYTES_OF_CHARACTERS].map(
      ([character, byte]) => [String.fromCharCode(character), byte] as const,
    );
    const alphabet: JsonObject = Object.fromEntries(characters);
    const byteLevel = (vocab: JsonObject) =>
      new TextTokenizer({
        model: { type: 'BPE', vocab, merges: [], unk_token: '<unk>' },
        pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        decoder: { type: 'ByteLevel' },
      });
    expect(() => byteLevel({ ...alphabet, '<unk>': 256, 字: 257 }).assertFits(256)).not.toThrow();
    // Without its NUL there is something unknown.
    const { [String.fromCharCode(256)]: _, ...others } = alphabet;
    expect(() => byteLevel({ ...others, '<unk>': 256 }).assertFits(256)).toThrow(/"<unk>"/);
    expect(() => byteLevel({ ...others, '<unk>': 0, Ā: 256 }).assertFits(256)).toThrow(/"Ā"/);
  });

  test('are no matter where no text becomes one', () => {
    expect(() => bpe({ a: 0, b: 1, '<unused>': 2 }).assertFits(2)).not.toThrow();
    const added = [{ id: 2, content: '<pad>', special: true }];
    const padded = new TextTokenizer({
      model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
      added_tokens: added,
    });
    expect(() => padded.assertFits(2)).not.toThrow();
  });

  test.each<[string, TextTokenizer]>([
    ['a character', bpe({ a: 0, b: 1, c: 2 })],
    ['what a merge makes', bpe({ a: 0, b: 1, ab: 2 }, ['a b'])],
    ['a byte', bpe({ a: 0, b: 1, '<0x41>': 2 }, [], { byte_fallback: true })],
    ['an entry that needs no merge', bpe({ a: 0, b: 1, word: 2 }, [], { ignore_merges: true })],
  ])('refuse the tokenizer where ordinary texts have them: %s', (_, tokenizer) => {
    expect(() => tokenizer.assertFits(2)).toThrow(/ids up to 2, as for ".+", but the model's vocabulary has 2 rows/);
    expect(() => tokenizer.assertFits(3)).not.toThrow();
  });
});
