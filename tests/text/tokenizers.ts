import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { TextTokenizer } from '../../src/text/tokenizer.ts';

const BYTES = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
const WORDS = ['▁', '▁▁', '▁Hello', '▁world', 'ing', 'é', '日本', '😀', '\uFFFD', '.', "'s", '▁.', ' ', 'a', 'b', 'ab'];

const added = (id: number, content: string, special = true) => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

function bpe(tokens: readonly string[], parts: JsonObject, model: JsonObject = {}): JsonObject {
  return {
    version: '1.0',
    added_tokens: [added(0, '<s>'), added(1, '</s>'), added(2, '<tool>', false)],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    model: {
      type: 'BPE',
      unk_token: null,
      vocab: Object.fromEntries(['<s>', '</s>', '<tool>', ...tokens].map((token, id) => [token, id])),
      merges: ['a b'],
      ...model,
    },
    ...parts,
  };
}

/** As in Llama 2 and Codestral Mamba: sentencepiece with bytes for what the vocabulary lacks. */
export const byteFallbackJson = bpe(
  [...WORDS, ...BYTES],
  {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  },
  { byte_fallback: true },
);

export const metaspaceJson = bpe(WORDS, {
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
  decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
});

export const wordPieceJson = bpe(['hello', '##ing', 'world', '.', "'s"], {
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
});

export const suffixJson = bpe(['he', 'llo</w>', 'world</w>', 'a</w>', 'a'], {
  decoder: { type: 'BPEDecoder', suffix: '</w>' },
});

export const byteFallback = new TextTokenizer(byteFallbackJson);
export const metaspace = new TextTokenizer(metaspaceJson);
export const wordPiece = new TextTokenizer(wordPieceJson);
export const suffix = new TextTokenizer(suffixJson);

/** The byte-level BPE tokenizer of the bundled model. */
export async function bundledTokenizer(): Promise<TextTokenizer> {
  const tokenizer = await TextTokenizer.fromFolder(new URL('../../models/tiny-dts', import.meta.url).pathname);
  if (tokenizer === undefined) throw new Error('the bundled model has a tokenizer');
  return tokenizer;
}
