import { describe, expect, test } from 'vitest';
import type { ModelFiles } from '../../../src/checkpoint/files/model-files.ts';
import { mergesOfScores } from '../../../src/checkpoint/gguf/tokenizer/merges.ts';
import { TOKEN_TYPES } from '../../../src/checkpoint/gguf/tokenizer/named-tokens.ts';
import { tokenizerFiles } from '../../../src/checkpoint/gguf/tokenizer/tokenizer-files.ts';
import { GgufError, TokenizerError } from '../../../src/errors.ts';
import { ChatTemplate } from '../../../src/text/chat/chat-template.ts';
import { TextTokenizer } from '../../../src/text/tokenizer.ts';
import { madeMetadata } from './made-gguf.ts';

type Metadata = Parameters<typeof madeMetadata>[0];

const { normal, unknown, control, userDefined, unused, byte } = TOKEN_TYPES;

/** The tokenizer of a file's metadata. */
function tokenizer(metadata: Metadata): TextTokenizer {
  const files = tokenizerFiles(madeMetadata(metadata));
  const json = (file: string) => JSON.parse(files.get(file)?.() ?? 'null');
  return new TextTokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
}

/** Printable ASCII, a space as GPT-2 writes it, and what the merges make. */
const CHARACTERS = [...Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)), 'Ġ', 'Ċ'];

/** A byte-level vocabulary. Its special tokens come first: `<s>`, `</s>`, `<|im_end|>`, `<think>`, `[PAD4]`. */
function byteLevel(merges: readonly string[], metadata: Metadata = {}): Metadata {
  const special = ['<s>', '</s>', '<|im_end|>', '<think>', '[PAD4]'];
  const tokens = [...special, ...CHARACTERS, ...merges.map((merge) => merge.replace(' ', ''))];
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, i) => [control, control, control, userDefined, unused][i] ?? normal),
    'tokenizer.ggml.merges': merges,
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 1,
    ...metadata,
  };
}

const merges = ['1 2', 'a b', 'Ġ ab'];
const [TWELVE, AB, SPACE_AB] = [0, 1, 2].map((i) => 5 + CHARACTERS.length + i);
const id = (character: string) => 5 + CHARACTERS.indexOf(character);

describe('byte-pair encoding of bytes', () => {
  test('merges what the file says, and decodes it again', () => {
    const made = tokenizer(byteLevel(merges));
    expect(made.encode('ab ab 12')).toEqual([AB, SPACE_AB, id('Ġ'), TWELVE]);
    expect(made.decode(made.encode('ab ab 12'))).toBe('ab ab 12');
  });

  test.each([
    ['gpt-2', '1212', [TWELVE, TWELVE]],
    // Digits one by one.
    ['refact', '12', [id('1'), id('2')]],
    ['llama-bpe', '1112', [id('1'), id('1'), id('1'), id('2')]],
    ['qwen2', '12', [id('1'), id('2')]],
    ['dbrx', "'Sab", [id("'"), id('S'), AB]],
    ['tekken', 'ab', [AB]],
    ['falcon', '1212', [TWELVE, id('1'), id('2')]],
    ['deepseek-coder', '12', [id('1'), id('2')]],
  ])('words of %s', (pre, text, ids) => {
    const flags = { 'tokenizer.ggml.add_bos_token': false, 'tokenizer.ggml.pre': pre };
    expect(tokenizer(byteLevel(merges, flags)).encode(text)).toEqual(ids);
  });

  test('a file of before there were names is cut by the rules of then', () => {
    const { 'tokenizer.ggml.pre': _, ...old } = byteLevel(merges);
    expect(tokenizer(old).encode('ab-12')).toEqual([AB, id('-'), TWELVE]);
  });

  test.each([
    ['gpt-2', {}, false, false],
    ['llama-bpe', {}, true, false],
    ['llama-bpe', { 'tokenizer.ggml.add_bos_token': false }, false, false],
    ['gpt-2', { 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.add_eos_token': true }, true, true],
  ])('%s with %o: tokens around a text', (pre, flags, begins, ends) => {
    const made = tokenizer(byteLevel(merges, { 'tokenizer.ggml.pre': pre, ...flags }));
    expect(made.encode('ab')).toEqual([...(begins ? [0] : []), AB, ...(ends ? [1] : [])]);
    expect(made.encode('ab', { addSpecialTokens: false })).toEqual([AB]);
  });

  test('special tokens are found in texts, and those that fill the vocabulary are not', () => {
    const made = tokenizer(byteLevel(merges));
    expect(made.encode('<|im_end|><think>')).toEqual([2, 3]);
    expect([...made.specialTokenIds]).toEqual([0, 1, 2]);
    expect(made.decode([2, 3])).toBe('<think>');
    expect(made.encode('[PAD4]')).toHaveLength(6);
    expect(made.decode([4], { skipSpecialTokens: false })).toBe('');
  });

  test('ends of turns are known by the file and by their texts', () => {
    expect(tokenizer(byteLevel(merges)).endTokenIds).toEqual([1, 2]);
    expect(tokenizer(byteLevel(merges, { 'tokenizer.ggml.eot_token_id': 3 })).endTokenIds).toEqual([1, 3, 2]);
  });

  test('a name that is not known is refused, with the repository if the file names it', () => {
    const file = (metadata: Metadata) => () =>
      tokenizer(byteLevel(merges, { 'tokenizer.ggml.pre': 'new', ...metadata }));
    expect(file({})).toThrow(TokenizerError);
    expect(file({})).toThrow(/'tokenizer.ggml.pre' is 'new'.*tokenizer.json/s);
    expect(file({ 'general.base_model.0.repo_url': 'https://huggingface.co/org/name' })).toThrow('co/org/name');
  });
});

/** The bytes as tokens, and some pieces with scores. */
function sentencePiece(pieces: Readonly<Record<string, number>>, metadata: Metadata = {}): Metadata {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...Object.keys(pieces)];
  return {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.scores': [...Array.from({ length: 259 }, () => 0.5), ...Object.values(pieces)],
    'tokenizer.ggml.token_type': tokens.map((_, i) => [unknown, control, control][i] ?? (i < 259 ? byte : normal)),
    ...metadata,
  };
}

describe("SentencePiece's byte-pair encoding", () => {
  const pieces = { '▁': -1.5, a: -2.5, b: -3.5, '▁a': -4.5, ab: -0.5, '▁ab': -6.5 };
  const piece = (text: string) => 259 + Object.keys(pieces).indexOf(text);

  test('merges what has the highest score, and puts a space before', () => {
    const made = tokenizer(sentencePiece(pieces));
    expect(made.encode('ab a')).toEqual([1, piece('▁ab'), piece('▁a')]);
    expect(made.decode(made.encode('ab a'))).toBe('ab a');
  });

  test('may put none', () => {
    const made = tokenizer(sentencePiece(pieces, { 'tokenizer.ggml.add_space_prefix': false }));
    expect(made.encode('ab', { addSpecialTokens: false })).toEqual([piece('ab')]);
    expect(made.decode([piece('▁ab')])).toBe(' ab');
  });

  test('writes other characters as bytes', () => {
    const made = tokenizer(sentencePiece(pieces));
    const ids = made.encode('é', { addSpecialTokens: false });
    expect(ids).toEqual([piece('▁'), 3 + 0xc3, 3 + 0xa9]);
    expect(made.decode(ids)).toBe('é');
  });

  test('its special tokens have the usual ids', () => {
    const made = tokenizer(sentencePiece(pieces));
    expect([made.bosTokenId, made.eosTokenId]).toEqual([1, 2]);
    expect(made.encode('a</s>a')).toEqual([1, piece('▁a'), 2, piece('▁a')]);
  });

  test('scores as merges: any two parts of a token, in the order of the scores', () => {
    const tokens = ['a', 'b', 'ab', 'abb', 'bb'].map((text, index) => ({ id: index, text, type: normal }));
    expect(mergesOfScores(tokens, [-1, -2, -3, -5, -4])).toEqual(['a b', 'b b', 'a bb', 'ab b']);
  });
});

describe('a vocabulary is refused', () => {
  test('of a kind that is not known', () => {
    const file = () => tokenizer(byteLevel(merges, { 'tokenizer.ggml.model': 'rwkv' }));
    expect(file).toThrow(TokenizerError);
    expect(file).toThrow(/'rwkv'.*gpt2/s);
  });

  test('without merges, or with too few types', () => {
    const { 'tokenizer.ggml.merges': _, ...lacking } = byteLevel(merges);
    expect(() => tokenizer(lacking)).toThrow(GgufError);
    expect(() => tokenizer(byteLevel(merges, { 'tokenizer.ggml.token_type': [1, 1] }))).toThrow(/2 entries for 104/);
    expect(() => tokenizer(sentencePiece({}, { 'tokenizer.ggml.scores': [0] }))).toThrow(/1 entries for 259/);
  });
});

test('a file may have no tokenizer', () => {
  expect([...tokenizerFiles(madeMetadata({ 'tokenizer.ggml.model': 'none' })).keys()]).toEqual([]);
  expect([...tokenizerFiles(madeMetadata({})).keys()]).toEqual([]);
});

test('chat templates, named ones included', async () => {
  const texts = tokenizerFiles(
    madeMetadata({
      'tokenizer.chat_template': '{{ messages[0].content }}!',
      'tokenizer.chat_template.tool_use': 'tools: {{ messages[0].content }}',
      'tokenizer.chat_template.rag': 'documents',
      'tokenizer.chat_templates': ['tool_use', 'rag'],
    }),
  );
  expect([...texts.keys()]).toEqual([
    'chat_template.jinja',
    'additional_chat_templates/tool_use.jinja',
    'additional_chat_templates/rag.jinja',
  ]);
  const files: ModelFiles = {
    location: 'made.gguf',
    nameOf: (file) => file,
    readText: async (file) => texts.get(file)?.(),
    open: async () => undefined,
    list: async () => [...texts.keys()],
    close: async () => {},
  };
  const template = await ChatTemplate.fromFiles(files);
  expect(template?.render([{ role: 'user', content: 'Hi' }])).toBe('Hi!');
  expect(template?.render([{ role: 'user', content: 'Hi' }], { tools: [{}] })).toBe('tools: Hi');
});
