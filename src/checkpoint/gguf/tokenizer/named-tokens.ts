import { TokenizerError } from '../../../errors.ts';
import type { GgufMetadata } from '../gguf-metadata.ts';

/** Keys of the tokens with a role. `seperator` is llama.cpp's spelling. */
const KEYS = {
  bos: 'bos',
  eos: 'eos',
  eot: 'eot',
  eom: 'eom',
  unk: 'unknown',
  sep: 'seperator',
  pad: 'padding',
  mask: 'mask',
} as const;

/** A role of a token: beginning and end of a text, end of a turn, end of a message, and others. */
export type TokenRole = keyof typeof KEYS;

/** The ids that SentencePiece gives tokens unless told otherwise. */
const SENTENCE_PIECE_IDS = { bos: 1, eos: 2, unk: 0 } as const;

/** Ids of the tokens that have a role. */
export function namedTokenIds(metadata: GgufMetadata): { readonly [role in TokenRole]?: number } {
  const roles = Object.entries(KEYS).flatMap(([role, key]): [string, number][] => {
    const id = metadata.optionalInteger(`tokenizer.ggml.${key}_token_id`);
    // Writers put 2^32 - 1 for none.
    return id === undefined || id > 2 ** 31 ? [] : [[role, id]];
  });
  const isSentencePiece = metadata.optionalString('tokenizer.ggml.model') === 'llama';
  return { ...(isSentencePiece ? SENTENCE_PIECE_IDS : {}), ...Object.fromEntries(roles) };
}

/** Kinds of tokens, by their number in the file. */
export const TOKEN_TYPES = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

/** A token of the vocabulary. */
export interface VocabularyToken {
  readonly id: number;
  readonly text: string;
  /** One of TOKEN_TYPES; others count as normal. */
  readonly type: number;
}

/**
 * The tokens of the vocabulary, without those that fill it up to its size.
 * @throws GgufError, TokenizerError
 */
export function vocabularyTokens(metadata: GgufMetadata): VocabularyToken[] {
  const texts = metadata.strings('tokenizer.ggml.tokens');
  const types = tokenTypes(metadata, texts.length);
  return texts.flatMap((text, id) =>
    text === '' || types[id] === TOKEN_TYPES.unused ? [] : [{ id, text, type: types[id] }],
  );
}

/** Types of all tokens, by id. @throws GgufError, TokenizerError */
export function tokenTypes(metadata: GgufMetadata, count: number): ArrayLike<number> {
  const key = 'tokenizer.ggml.token_type';
  const types = metadata.packedIntegers(key) ?? new Uint8Array(count).fill(TOKEN_TYPES.normal);
  assertForEachToken(metadata, key, types, count);
  return types;
}

/** Scores of all tokens, by id. @throws GgufError, TokenizerError */
export function tokenScores(metadata: GgufMetadata): readonly number[] {
  const key = 'tokenizer.ggml.scores';
  const scores = metadata.numbers(key);
  assertForEachToken(metadata, key, scores, metadata.packedStrings('tokenizer.ggml.tokens').count);
  return scores;
}

function assertForEachToken(metadata: GgufMetadata, key: string, entries: ArrayLike<number>, tokens: number): void {
  if (entries.length >= tokens) return;
  throw new TokenizerError(
    `${metadata.fileName}: '${key}' has ${entries.length} entries for ${tokens} tokens.`,
    'The file is damaged or was converted wrongly; get another one.',
  );
}
