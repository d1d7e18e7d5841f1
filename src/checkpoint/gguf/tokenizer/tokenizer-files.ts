import { TokenizerError } from '../../../errors.ts';
import type { StoredTokenizer, TokenizerFacts } from '../../files/model-files.ts';
import type { JsonObject, JsonValue } from '../../json/json.ts';
import type { GgufMetadata } from '../gguf-metadata.ts';
import { mergesOfScores } from './merges.ts';
import {
  namedTokenIds,
  TOKEN_TYPES,
  type TokenRole,
  tokenScores,
  tokenTypes,
  type VocabularyToken,
  vocabularyTokens,
} from './named-tokens.ts';
import { preTokenizer, preTokenizerJson } from './pre-tokenizers.ts';

/** Values of `tokenizer.ggml.model` that are read, and what they are. */
const MODELS = {
  gpt2: 'byte-pair encoding of bytes',
  llama: "SentencePiece's byte-pair encoding with byte fallback",
  gemma4: 'byte-pair encoding of characters with byte fallback',
} as const;

type TokenizerModel = keyof typeof MODELS;

/** What SentencePiece writes for a space. */
const SPACE = '▁';

/** Texts of tokens that end a turn or a text in models whose files name only one of them. */
const END_TEXTS: ReadonlySet<string> = new Set([
  ...['<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|endoftext|>', '<|end|>', '<|return|>'],
  ...['<end_of_turn>', '<turn|>', '<eos>', '</s>', '<EOT>', '[EOT]', '[EOS]'],
]);

/**
 * The tokenizer's files and the chat templates, made when they are asked for. A model without a vocabulary has none of
 * the first.
 */
export function tokenizerFiles(metadata: GgufMetadata): ReadonlyMap<string, () => string> {
  const files = new Map<string, () => string>();
  if (hasVocabulary(metadata)) {
    files.set('tokenizer.json', () => JSON.stringify(tokenizerJson(metadata)));
    files.set('tokenizer_config.json', () => JSON.stringify(tokenizerConfig(metadata)));
  }
  const template = metadata.optionalString('tokenizer.chat_template');
  if (template !== undefined) files.set('chat_template.jinja', () => template);
  for (const key of metadata.keys()) {
    const [, name] = /^tokenizer\.chat_template\.([\w-]+)$/.exec(key) ?? [];
    if (name !== undefined) files.set(`additional_chat_templates/${name}.jinja`, () => metadata.string(key));
  }
  return files;
}

/**
 * The tokenizer; undefined for a model without a vocabulary. Its kind and the lengths of its arrays are checked.
 * @throws TokenizerError, GgufError
 */
export function storedTokenizer(metadata: GgufMetadata): StoredTokenizer | undefined {
  if (!hasVocabulary(metadata)) return undefined;
  const model = tokenizerModel(metadata);
  if (model === 'gpt2') preTokenizer(metadata);
  if (model === 'llama') tokenScores(metadata);
  else metadata.packedStrings('tokenizer.ggml.merges');
  const read = () => ({ json: tokenizerJson(metadata), config: tokenizerConfig(metadata) });
  return { read, facts: tokenizerFacts(metadata) };
}

/** What the metadata say directly; undefined where a role's token has no text of its own. */
function tokenizerFacts(metadata: GgufMetadata): TokenizerFacts | undefined {
  const texts = metadata.packedStrings('tokenizer.ggml.tokens');
  const types = tokenTypes(metadata, texts.count);
  const isToken = (id: number) => id < texts.count && !texts.isEmpty(id) && types[id] !== TOKEN_TYPES.unused;
  const { bos, eos, eot, unk, sep, pad, mask } = namedTokenIds(metadata);
  const named = [bos, eos, eot, unk, sep, pad, mask].filter((id) => id !== undefined);
  if (!named.every(isToken)) return undefined;
  let vocabSize = texts.count;
  while (vocabSize > 0 && !isToken(vocabSize - 1)) vocabSize--;
  const ends = [eos, eot, ...endTokens(metadata).map(({ id }) => id)];
  return { vocabSize, endTokenIds: [...new Set(ends.filter((id) => id !== undefined))] };
}

function hasVocabulary(metadata: GgufMetadata): boolean {
  const model = metadata.optionalString('tokenizer.ggml.model') ?? 'none';
  return model !== 'none' && model !== 'no_vocab';
}

/** @throws TokenizerError for a kind that is not read. */
function tokenizerModel(metadata: GgufMetadata): TokenizerModel {
  const model = metadata.string('tokenizer.ggml.model');
  if (isKnown(model)) return model;
  throw new TokenizerError(
    `${metadata.fileName}: 'tokenizer.ggml.model' is '${model}', which is not supported.`,
    `Supported: ${Object.entries(MODELS)
      .map(([name, what]) => `${name} (${what})`)
      .join(', ')}.`,
  );
}

/** @throws TokenizerError, GgufError */
function tokenizerJson(metadata: GgufMetadata): JsonObject {
  const model = tokenizerModel(metadata);
  const tokens = vocabularyTokens(metadata);
  const isAdded = ({ type }: VocabularyToken) =>
    type === TOKEN_TYPES.control || type === TOKEN_TYPES.userDefined || type === TOKEN_TYPES.unknown;
  const added = tokens.filter(isAdded).map(({ id, text, type }) => ({
    id,
    content: text,
    special: type !== TOKEN_TYPES.userDefined,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  }));
  // With byte-level encoding an added token's text is not in the alphabet of the others.
  const inModel = model === 'gpt2' ? tokens.filter((token) => !isAdded(token)) : tokens;
  const vocab = Object.fromEntries(inModel.map(({ text, id }) => [text, id]));
  const parts = model === 'gpt2' ? byteLevelParts(metadata) : sentencePieceParts(metadata, model, tokens);
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: parts.normalizer,
    pre_tokenizer: parts.pre_tokenizer,
    post_processor: postProcessor(metadata, model),
    decoder: parts.decoder,
    model: {
      type: 'BPE',
      dropout: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      ...parts.model,
      vocab,
    },
  };
}

function isKnown(model: string): model is TokenizerModel {
  return Object.hasOwn(MODELS, model);
}

/** What the kinds of tokenizers differ in. */
interface TokenizerParts {
  readonly normalizer: JsonValue;
  readonly pre_tokenizer: JsonValue;
  readonly decoder: JsonValue;
  readonly model: JsonObject;
}

function byteLevelParts(metadata: GgufMetadata): TokenizerParts {
  const { patterns, ignoreMerges = false } = preTokenizer(metadata);
  return {
    normalizer: null,
    pre_tokenizer: preTokenizerJson(patterns),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: ignoreMerges,
      merges: metadata.strings('tokenizer.ggml.merges'),
    },
  };
}

function sentencePieceParts(
  metadata: GgufMetadata,
  model: Exclude<TokenizerModel, 'gpt2'>,
  tokens: readonly VocabularyToken[],
): TokenizerParts {
  const addsSpace = model === 'llama' && (metadata.optionalBoolean('tokenizer.ggml.add_space_prefix') ?? true);
  const merges =
    model === 'llama' ? mergesOfScores(tokens, tokenScores(metadata)) : metadata.strings('tokenizer.ggml.merges');
  const escaped = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const spaced = { type: 'Replace', pattern: { String: SPACE }, content: ' ' };
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [...(addsSpace ? [{ type: 'Prepend', prepend: SPACE }] : []), escaped],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [spaced, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(addsSpace ? [strip] : [])],
    },
    model: {
      unk_token: tokens.find(({ id }) => id === namedTokenIds(metadata).unk)?.text ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      merges,
    },
  };
}

/** Tokens around a text: the flags of the file, or what is usual for the kind of tokenizer. */
function postProcessor(metadata: GgufMetadata, model: TokenizerModel): JsonValue {
  const ids = namedTokenIds(metadata);
  const usuallyBegins = model === 'gpt2' ? (preTokenizer(metadata).addsBos ?? false) : true;
  const begins = metadata.optionalBoolean('tokenizer.ggml.add_bos_token') ?? usuallyBegins;
  const ends = metadata.optionalBoolean('tokenizer.ggml.add_eos_token') ?? false;
  const texts = tokenTexts(metadata);
  const special = (asked: boolean, role: 'bos' | 'eos') => {
    const text = texts[role];
    const id = ids[role];
    return asked && text !== undefined && id !== undefined ? [{ text, id }] : [];
  };
  const [before, after] = [special(begins, 'bos'), special(ends, 'eos')];
  if (before.length + after.length === 0) return null;
  const token = ({ text }: { readonly text: string }) => ({ SpecialToken: { id: text, type_id: 0 } });
  const sequence = (id: string) => [...before.map(token), { Sequence: { id, type_id: 0 } }, ...after.map(token)];
  return {
    type: 'TemplateProcessing',
    single: sequence('A'),
    pair: [...sequence('A'), ...sequence('B')],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ text, id }) => [text, { id: text, ids: [id], tokens: [text] }]),
    ),
  };
}

/** Texts of the tokens that have a role. */
function tokenTexts(metadata: GgufMetadata): { readonly [role in TokenRole]?: string } {
  const texts = metadata.packedStrings('tokenizer.ggml.tokens');
  return Object.fromEntries(
    Object.entries(namedTokenIds(metadata)).flatMap(([role, id]) => {
      const text = texts.at(id);
      return text ? [[role, text]] : [];
    }),
  );
}

/** Tokens that end a text or a turn by their texts. */
function endTokens(metadata: GgufMetadata): { readonly id: number; readonly text: string }[] {
  const texts = metadata.packedStrings('tokenizer.ggml.tokens');
  const types = tokenTypes(metadata, texts.count);
  const ends: { readonly id: number; readonly text: string }[] = [];
  for (let id = 0; id < texts.count; id++) {
    const text = types[id] === TOKEN_TYPES.control ? texts.at(id) : undefined;
    if (text !== undefined && END_TEXTS.has(text)) ends.push({ id, text });
  }
  return ends;
}

/** tokenizer_config.json: the tokens by their roles. */
function tokenizerConfig(metadata: GgufMetadata): JsonObject {
  const { bos, eos, eot, unk, sep, pad, mask } = tokenTexts(metadata);
  const ends = endTokens(metadata).map(({ text }) => text);
  const turnEnds = [...new Set([...(eot === undefined ? [] : [eot]), ...ends])];
  const named = { bos, eos, unk, sep, pad, mask };
  return {
    ...Object.fromEntries(
      Object.entries(named).flatMap(([role, text]) => (text === undefined ? [] : [[`${role}_token`, text]])),
    ),
    ...(turnEnds.length > 0 ? { eot_token: turnEnds } : {}),
  };
}
