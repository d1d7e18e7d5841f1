import { describeJson, getOwn, isJsonObject, type JsonObject, type JsonValue } from '../checkpoint/json/json.ts';
import { assertStoredId, malformedTokenizer } from './tokenizer-json.ts';
import type { Vocabulary } from './vocabulary.ts';

/** A token that is searched for in a text before the text is split otherwise. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Whether it has a meaning besides its text; decoded texts leave it out unless asked otherwise. */
  readonly special: boolean;
  /** Whether it is searched for in the normalised text. */
  readonly normalized: boolean;
  /** Whether it takes the white space before it. */
  readonly lstrip: boolean;
  /** Whether it takes the white space after it. */
  readonly rstrip: boolean;
  /** Whether it counts only if no letter, digit or underscore touches it. */
  readonly singleWord: boolean;
}

/** The tokens that tokenizer_config.json names by their role, in the order in which transformers adds them. */
const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Roles of tokens that end a text or a turn. */
export const END_NAMES = ['eos_token', 'eot_token'];

/** A token as files store it, with its flags. */
interface StoredToken {
  readonly content: string;
  readonly flags: { readonly [flag in keyof Omit<AddedToken, 'id' | 'content'>]?: boolean | undefined };
}

/**
 * All added tokens of a tokenizer, by id. tokenizer.json's come first; the config's `added_tokens_decoder` adds others
 * and overrides flags; named and extra special tokens are special whatever else says. One of those that no file gives
 * an id gets the next free one, as in transformers, but only below `vocabSize`: one without a row in the model stays
 * text.
 * @throws TokenizerError
 */
export function readAddedTokens(
  json: JsonObject,
  config: JsonObject,
  vocabulary: Vocabulary,
  vocabSize: number,
): ReadonlyMap<number, AddedToken> {
  const tokens = new Map<number, AddedToken>();
  /** Ids of what was added, and of what was renamed: it has none. */
  const ids = new Map<string, number | undefined>();
  const idOf = (content: string) => (ids.has(content) ? ids.get(content) : vocabulary.idOf(content));
  let greatest = vocabulary.greatestId;
  const put = (id: number, { content, flags }: StoredToken) => {
    const known = tokens.get(id);
    // A reserved token whose text was changed.
    if (known && known.content !== content && idOf(known.content) === id) ids.set(known.content, undefined);
    const basis = known?.content === content ? known : undefined;
    tokens.set(id, {
      id,
      content,
      special: flags.special ?? basis?.special ?? false,
      normalized: flags.normalized ?? basis?.normalized ?? false,
      lstrip: flags.lstrip ?? basis?.lstrip ?? false,
      rstrip: flags.rstrip ?? basis?.rstrip ?? false,
      singleWord: flags.singleWord ?? basis?.singleWord ?? false,
    });
    ids.set(content, id);
    greatest = Math.max(greatest, id);
  };

  for (const [id, token] of tokensOfJson(json)) put(id, token);
  for (const [id, token] of tokensOfConfig(config)) put(idOf(token.content) ?? id, token);
  let next = greatest + 1;
  for (const { content, flags } of specialTokens(config)) {
    const id = idOf(content) ?? (next < vocabSize ? next++ : undefined);
    if (id !== undefined) put(id, { content, flags: { ...flags, special: true } });
  }
  return tokens;
}

/**
 * The tokens that have a role in texts, by the role's name: `bos_token`, `eos_token`, and others that a config names.
 * If files contradict each other and name several tokens for one role, the first takes precedence.
 */
export function namedTokens(config: JsonObject): ReadonlyMap<string, readonly string[]> {
  const named = new Map<string, readonly string[]>();
  const extra = getOwn(config, 'extra_special_tokens');
  for (const source of [config, ...(isJsonObject(extra) ? [extra] : [])]) {
    for (const [name, value] of Object.entries(source)) {
      const tokens = name.endsWith('_token') ? tokensOf(value) : [];
      if (tokens.length > 0)
        named.set(
          name,
          tokens.map(({ content }) => content),
        );
    }
  }
  return named;
}

/**
 * The files around tokenizer.json, merged into one tokenizer_config.json. If that file lists the added tokens, it takes
 * precedence; otherwise special_tokens_map.json does, as in transformers. If the two name different ends of a text,
 * both are kept. @throws TokenizerError
 */
export function mergeTokenizerConfig(
  config: JsonObject,
  specialTokensMap: JsonObject = {},
  addedTokens?: JsonObject | undefined,
): JsonObject {
  const listsTokens = isJsonObject(getOwn(config, 'added_tokens_decoder'));
  const sources = [specialTokensMap, config].map(withoutNulls);
  const [less, more] = listsTokens ? sources : sources.reverse();
  const ends = END_NAMES.flatMap((name): [string, JsonValue][] => {
    const values = [more, less].map((source) => getOwn(source, name)).filter((value) => value !== undefined);
    return values.length > 1 ? [[name, values.flat()]] : [];
  });
  const merged = { ...less, ...more, ...Object.fromEntries(ends) };
  if (listsTokens || !addedTokens) return merged;
  const entries = Object.entries(addedTokens).map(([content, id]) => {
    assertStoredId(content, id, 'added_tokens.json');
    return [String(id), { content }] as const;
  });
  return { ...merged, added_tokens_decoder: Object.fromEntries(entries) };
}

function withoutNulls(json: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
}

function* tokensOfJson(json: JsonObject): Iterable<[number, StoredToken]> {
  const list = getOwn(json, 'added_tokens');
  for (const entry of Array.isArray(list) ? list : []) {
    const token = storedToken(entry);
    const id = isJsonObject(entry) ? getOwn(entry, 'id') : undefined;
    if (token && typeof id === 'number') yield [id, token];
  }
}

function* tokensOfConfig(config: JsonObject): Iterable<[number, StoredToken]> {
  const decoder = getOwn(config, 'added_tokens_decoder');
  if (decoder === undefined || decoder === null) return;
  const file = 'tokenizer_config.json';
  if (!isJsonObject(decoder)) {
    throw malformedTokenizer(`'added_tokens_decoder' is ${describeJson(decoder)}, expected an object`, file);
  }
  for (const [key, entry] of Object.entries(decoder)) {
    const token = storedToken(entry);
    if (!token) {
      throw malformedTokenizer(`'added_tokens_decoder' holds ${describeJson(entry)}, expected {content, …}`, file);
    }
    const id = /^\d+$/.test(key) ? Number(key) : key;
    assertStoredId(token.content, id, file);
    yield [Number(id), token];
  }
}

function* specialTokens(config: JsonObject): Iterable<StoredToken> {
  for (const name of NAMED) yield* tokensOf(getOwn(config, name));
  for (const [name, value] of Object.entries(config)) {
    if (name.endsWith('_token') && !NAMED.includes(name)) yield* tokensOf(value);
  }
  for (const name of ['extra_special_tokens', 'additional_special_tokens']) {
    const extra = getOwn(config, name);
    const values = isJsonObject(extra) ? Object.values(extra) : Array.isArray(extra) ? extra : [];
    for (const value of values) yield* tokensOf(value);
  }
}

/** Tokens of a value: one token, a list, or none. */
function tokensOf(value: JsonValue | undefined): StoredToken[] {
  return (Array.isArray(value) ? value : [value]).flatMap((each) => {
    const token = storedToken(each);
    return token && token.content !== '' ? [token] : [];
  });
}

/** A token is written as a string, or as an object of its `content` and flags. */
function storedToken(value: JsonValue | undefined): StoredToken | undefined {
  if (typeof value === 'string') return { content: value, flags: {} };
  const content = isJsonObject(value) ? getOwn(value, 'content') : undefined;
  if (!isJsonObject(value) || typeof content !== 'string') return undefined;
  const flag = (name: string) => {
    const is = getOwn(value, name);
    return typeof is === 'boolean' ? is : undefined;
  };
  const flags = {
    special: flag('special'),
    normalized: flag('normalized'),
    lstrip: flag('lstrip'),
    rstrip: flag('rstrip'),
    singleWord: flag('single_word'),
  };
  return { content, flags };
}
