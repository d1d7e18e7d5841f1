import { JsonFileError } from '../../errors.ts';
import { isShallow, type JsonObject, JsonParser, JsonSyntaxError, type JsonValue } from './json-parser.ts';

export type { JsonObject, JsonValue } from './json-parser.ts';

/** transformers 5 writes non-finite numbers as `{"__float__": "Infinity"}`, which any JSON parser can read. */
const FLOAT_KEY = '__float__';
const LENIENT = { allowNonFinite: true, rejectDuplicateKeys: false } as const;
const FLOAT_WORDS: readonly string[] = ['Infinity', '-Infinity', 'NaN'];

/**
 * Parses JSON as Python writes it: bare Infinity, -Infinity and NaN, and objects `{"__float__": "Infinity"}`, become
 * numbers. Throws JsonFileError with line and column.
 */
export function parseLenientJson(text: string, fileName: string): JsonValue {
  // Editors on Windows put a byte order mark in front.
  const content = text.startsWith('\uFEFF') ? text.slice(1) : text;
  try {
    const value = parsePlainJson(content) ?? new JsonParser(content, LENIENT).parse();
    return content.includes(FLOAT_KEY) ? withFloats(value) : value;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new JsonFileError(
      `${fileName} is not valid JSON: ${error.message} at ${describePosition(content, error.index)}.`,
      'If it was downloaded or edited by hand, get it again.',
      { cause: error },
    );
  }
}

/** What JSON.parse makes of a text, many times as fast as our own parser; undefined where that has more to say. */
function parsePlainJson(text: string): JsonValue | undefined {
  try {
    const value: JsonValue = JSON.parse(text);
    return isShallow(text) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The value as an object. Throws JsonFileError; `where` names the file, or the place in it. */
export function asObject(value: JsonValue | undefined, where: string): JsonObject {
  if (!isJsonObject(value)) {
    throw new JsonFileError(`${where} holds ${describeJson(value)} where an object {…} was expected.`);
  }
  return value;
}

/** Whether a value of JSON is an object, not an array or null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The own value of a key; undefined when the key is absent. */
export function getOwn(object: JsonObject, key: string): JsonValue | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** A value for an error message, cut to a readable length. */
export function describeJson(value: JsonValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number') return String(value);
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

function withFloats(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(withFloats);
  if (!isJsonObject(value)) return value;
  const keys = Object.keys(value);
  const word = keys.length === 1 ? getOwn(value, FLOAT_KEY) : undefined;
  if (typeof word === 'string' && FLOAT_WORDS.includes(word)) return Number(word);
  return Object.fromEntries(keys.map((key) => [key, withFloats(value[key])]));
}

function describePosition(text: string, index: number): string {
  const before = text.slice(0, index);
  const line = before.split('\n').length;
  const column = index - before.lastIndexOf('\n');
  const excerpt = text.slice(index, index + 30).split('\n')[0];
  return `line ${line}, column ${column}${excerpt ? `, near ${JSON.stringify(excerpt)}` : ''}`;
}
