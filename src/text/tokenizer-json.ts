import { describeJson, getOwn, isJsonObject, type JsonObject, type JsonValue } from '../checkpoint/json/json.ts';
import { TokenizerError } from '../errors.ts';
import { BYTES_OF_CHARACTERS } from './byte-alphabet.ts';

/** Limit for ids, higher than any vocabulary's. The tokenizer library makes an array up to the highest id. */
const MAX_ID = 2 ** 22;

/** Checks what the tokenizer library assumes about a tokenizer.json. Throws TokenizerError. */
export function assertTokenizerJson(json: JsonObject): void {
  const model = getOwn(json, 'model');
  if (!isJsonObject(model)) {
    throw malformedTokenizer(`'model' is ${describeJson(model)}, expected an object`);
  }
  const vocab = getOwn(model, 'vocab');
  if (isJsonObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) assertStoredId(token, id);
  } else if (!Array.isArray(vocab)) {
    throw malformedTokenizer(`'model.vocab' is ${describeJson(vocab)}, expected an object or a list`);
  }
  const added = getOwn(json, 'added_tokens') ?? [];
  if (!Array.isArray(added)) throw malformedTokenizer(`'added_tokens' is ${describeJson(added)}, expected a list`);
  for (const token of added) {
    const content = isJsonObject(token) ? getOwn(token, 'content') : undefined;
    if (!isJsonObject(token) || typeof content !== 'string') {
      throw malformedTokenizer(`'added_tokens' holds ${describeJson(token)}, expected {id, content, …}`);
    }
    assertStoredId(content, getOwn(token, 'id'));
  }
}

/** @throws TokenizerError for a value that is not a token id. */
export function assertStoredId(token: string, id: JsonValue | undefined, file = 'tokenizer.json'): void {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < MAX_ID) return;
  const found = `token ${JSON.stringify(token)} has the id ${describeJson(id)}`;
  throw malformedTokenizer(`${found}, expected an integer from 0 to ${MAX_ID - 1}`, file);
}

export function malformedTokenizer(problem: string, file = 'tokenizer.json'): TokenizerError {
  return new TokenizerError(`${file} is malformed: ${problem}.`, 'Get the file again.');
}

/**
 * The first of these entries of the vocabulary that can be a token of a text; undefined if none can. With byte-pair
 * encoding those are characters, bytes and results of merges; other models take any entry.
 */
export function canText(json: JsonObject, tokens: readonly string[]): string | undefined {
  const model = json.model;
  if (tokens.length === 0 || !isJsonObject(model)) return undefined;
  const merges = getOwn(model, 'merges');
  if (!Array.isArray(merges) || getOwn(model, 'ignore_merges') === true) return tokens[0];
  const prefix = getOwn(model, 'continuing_subword_prefix');
  const merged = new Set(merges.map((merge) => mergedToken(merge, typeof prefix === 'string' ? prefix : '')));
  const suffix = getOwn(model, 'end_of_word_suffix');
  const bare = (token: string) =>
    typeof suffix === 'string' && suffix !== '' && token.endsWith(suffix) ? token.slice(0, -suffix.length) : token;
  const vocab = getOwn(model, 'vocab');
  const known = new Set(isJsonObject(vocab) ? Object.keys(vocab) : []);
  // All that texts are made of then are 256 characters, or what has none is written as 256 byte tokens.
  const isByteLevel = [json.pre_tokenizer, json.normalizer].some((part) => writesBytes(part));
  const fallsBack = getOwn(model, 'byte_fallback') === true;
  const bytes = isByteLevel ? BYTE_CHARACTERS : fallsBack ? BYTE_TOKENS : undefined;
  const hasUnknown = bytes === undefined || ![...bytes].every((byte) => known.has(byte));
  return tokens.find(
    (token) =>
      merged.has(token) ||
      (isByteLevel ? BYTE_CHARACTERS.has(bare(token)) : [...bare(token)].length === 1) ||
      (hasUnknown && token === getOwn(model, 'unk_token')) ||
      (fallsBack && BYTE_TOKENS.has(token)),
  );
}

const BYTE_CHARACTERS: ReadonlySet<string> = new Set(
  [...BYTES_OF_CHARACTERS.keys()].map((character) => String.fromCharCode(character)),
);
const BYTE_TOKENS: ReadonlySet<string> = new Set(
  Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
);

/** Whether a part of a tokenizer, or one in its list, writes the bytes of texts as characters. */
function writesBytes(part: JsonValue | undefined): boolean {
  if (!isJsonObject(part)) return false;
  const list = getOwn(part, 'pretokenizers') ?? getOwn(part, 'normalizers');
  return getOwn(part, 'type') === 'ByteLevel' || (Array.isArray(list) && list.some(writesBytes));
}

function mergedToken(merge: JsonValue, prefix: string): string {
  const [left, right] = typeof merge === 'string' ? merge.split(' ', 2) : Array.isArray(merge) ? merge : [];
  if (typeof left !== 'string' || typeof right !== 'string') return '';
  return left + (prefix !== '' && right.startsWith(prefix) ? right.slice(prefix.length) : right);
}

/** GPT-2's pattern, as the Rust library has it. */
const BYTE_LEVEL_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * A tokenizer.json with the patterns that the library compiles itself written out. In JavaScript U+FEFF is white space
 * and U+0085 is not. The library translates patterns of a tokenizer.json, but not those that their types imply.
 */
export function withUnicodeSpaces(json: JsonObject): JsonObject {
  const { normalizer, pre_tokenizer } = json;
  return {
    ...json,
    ...(isJsonObject(normalizer) && { normalizer: spelledOut(normalizer, 'normalizers') }),
    ...(isJsonObject(pre_tokenizer) && { pre_tokenizer: spelledOut(pre_tokenizer, 'pretokenizers') }),
  };
}

function spelledOut(part: JsonObject, listName: 'normalizers' | 'pretokenizers'): JsonObject {
  const list = getOwn(part, listName);
  if (Array.isArray(list)) {
    return { ...part, [listName]: list.map((each) => (isJsonObject(each) ? spelledOut(each, listName) : each)) };
  }
  const type = getOwn(part, 'type');
  if (listName === 'normalizers' && type === 'Strip') {
    const strip = (pattern: string) => ({ type: 'Replace', pattern: { Regex: pattern }, content: '' });
    const left = getOwn(part, 'strip_left') === true ? [strip('\\A\\s+')] : [];
    const right = getOwn(part, 'strip_right') === true ? [strip('\\s+\\z')] : [];
    return { type: 'Sequence', normalizers: [...left, ...right] };
  }
  // A space before the text would come before every word here.
  const splits =
    type === 'ByteLevel' && getOwn(part, 'use_regex') !== false && getOwn(part, 'add_prefix_space') !== true;
  if (listName === 'pretokenizers' && splits) {
    const split = { type: 'Split', pattern: { Regex: BYTE_LEVEL_PATTERN }, behavior: 'Isolated', invert: false };
    return { type: 'Sequence', pretokenizers: [split, { ...part, use_regex: false }] };
  }
  return part;
}
