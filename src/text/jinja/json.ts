import {
  Dict,
  Float,
  floatRepr,
  isInt,
  isList,
  normal,
  plain,
  TemplateError,
  Tuple,
  typeName,
  type Value,
} from './values.ts';

/** Options of json.dumps. */
export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** Indentation per level; undefined: everything on one line. */
  readonly indent: string | undefined;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

/** A value as Python's json.dumps writes it. @throws TemplateError for values that JSON cannot express. */
export function toJson(given: Value, options: JsonOptions, newline = '\n'): string {
  const value = plain(given);
  if (value === null) return 'null';
  if (typeof value === 'string') return quoted(value, options.ensureAscii);
  if (typeof value === 'boolean' || isInt(value)) return String(value);
  if (value instanceof Float) return floatText(value.value);
  const inner = newline + (options.indent ?? '');
  if (isList(value) || value instanceof Tuple) {
    const items = isList(value) ? value : value.items;
    return wrapped(
      '[',
      ']',
      items.map((item) => toJson(item, options, inner)),
      options,
      newline,
    );
  }
  if (!(value instanceof Dict)) throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
  const entries = [...value.entries()].map(([key, item]) => [keyText(plain(key)), item] as const);
  if (options.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const written = entries.map(
    ([key, item]) => quoted(key, options.ensureAscii) + options.separators[1] + toJson(item, options, inner),
  );
  return wrapped('{', '}', written, options, newline);
}

function wrapped(open: string, close: string, items: readonly string[], options: JsonOptions, newline: string): string {
  if (items.length === 0) return open + close;
  if (options.indent === undefined) return open + items.join(options.separators[0]) + close;
  const inner = newline + options.indent;
  return open + inner + items.join(options.separators[0] + inner) + newline + close;
}

function keyText(key: Value): string {
  if (typeof key === 'string') return key;
  if (key instanceof Float) return floatText(key.value);
  if (key === null || typeof key === 'boolean' || isInt(key)) return String(key);
  throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  return Number.isFinite(value) ? floatRepr(value) : value < 0 ? '-Infinity' : 'Infinity';
}

function quoted(text: string, ensureAscii: boolean): string {
  // JavaScript writes lone surrogates as escapes, Python writes them unchanged. Other escapes are skipped as a whole.
  const json = JSON.stringify(text).replace(/\\(?:u(d[89a-f][0-9a-f]{2})|.)/g, (whole, hex?: string) =>
    hex === undefined ? whole : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  if (!ensureAscii) return json;
  return json.replace(/[\u007f-\uffff]/g, (unit) =>
    unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/**
 * The value of a JSON text as Python's json.loads reads it: keys keep their order, whatever they look like, 1.0 is a
 * float, and integers are exact. Undefined if the text is not JSON.
 */
export function fromJson(text: string): Value | undefined {
  try {
    // The native parser first finds texts that are not JSON, or nested too deeply.
    JSON.parse(text);
  } catch {
    return undefined;
  }
  return new JsonReader(text).read(0);
}

const NUMBER = /-?\d+(\.\d+)?([eE][-+]?\d+)?/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const GAP = /[\s,:]*/y;

/** Reads JSON that is known to be valid. */
class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(depth: number): Value {
    if (depth > 256) throw new TemplateError('The JSON is nested too deeply.');
    this.#take(GAP);
    const first = this.#text[this.#at];
    if (first === '"') return JSON.parse(this.#take(STRING)) as string;
    if (first === '[') return [...this.#inside(']', () => this.read(depth + 1))];
    if (first === '{') return new Dict(this.#inside('}', () => [this.read(depth + 1), this.read(depth + 1)] as const));
    for (const [word, value] of [['true', true] as const, ['false', false] as const, ['null', null] as const]) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    const digits = this.#take(NUMBER);
    return /[.eE]/.test(digits) ? new Float(Number(digits)) : normal(BigInt(digits));
  }

  *#inside<T>(end: string, read: () => T): Iterable<T> {
    this.#at++;
    for (this.#take(GAP); this.#text[this.#at] !== end; this.#take(GAP)) yield read();
    this.#at++;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += match.length;
    return match;
  }
}
