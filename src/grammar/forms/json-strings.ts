import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { type CodePoints, characterClass, literal, oneOf, repeated, without } from './ebnf.ts';
import { formatPattern } from './json-formats.ts';
import { regexExpression } from './regex.ts';
import { counts, KEYWORDS, malformed, show, unsupported } from './schema-keywords.ts';

/** What JSON writes in a string with a backslash, and nothing else. */
const QUOTE_AND_BACKSLASH: readonly CodePoints[] = [
  [0x22, 0x22],
  [0x5c, 0x5c],
];
export const NOT_PLAIN: readonly CodePoints[] = [[0, 0x1f], ...QUOTE_AND_BACKSLASH];
export const EVERYTHING: readonly CodePoints[] = [[0, 0x10ffff]];
const ESCAPES: ReadonlyMap<number, string> = new Map([
  [0x08, '\\b'],
  [0x09, '\\t'],
  [0x0a, '\\n'],
  [0x0c, '\\f'],
  [0x0d, '\\r'],
  [0x22, '\\"'],
  [0x5c, '\\\\'],
]);

/** Above it, lengths besides a pattern would make its automaton too large. */
const MAX_LENGTH_OF_PATTERN = 128;

/** A character that stands in a string as it is. */
export const PLAIN = characterClass(without(EVERYTHING, NOT_PLAIN)) ?? '';

/** One character of a string, as it is or escaped, before the rest; of surrogates none, which UTF-8 has not. */
export function character(rest: string): string {
  const hex = '[0-9a-fA-F]';
  const codePoint = `([0-9a-cA-CefEF] ${hex} ${hex} ${hex} | [dD] [0-7] ${hex} ${hex})`;
  return `${PLAIN} ${rest} | "\\\\" (["\\\\/bfnrt] | "u" ${codePoint}) ${rest}`;
}

/** One of these characters as it stands in a JSON string. */
export function jsonCharacters(ranges: readonly CodePoints[]): string | undefined {
  const plain = characterClass(without(ranges, NOT_PLAIN));
  const isIn = (point: number) => ranges.some(([first, last]) => first <= point && point <= last);
  const escapes = [...ESCAPES].flatMap(([point, text]) => (isIn(point) ? [literal(text)] : []));
  const all = [...(plain === undefined ? [] : [plain]), ...escapes];
  return all.length === 0 ? undefined : oneOf(all);
}

/** Expression for strings with a pattern or a format, without their quotes; undefined for others. */
export function limitedText(schema: JsonObject, path: string): string | undefined {
  const { pattern, format } = schema;
  if (pattern === undefined && format === undefined) return undefined;
  if (pattern !== undefined && typeof pattern !== 'string')
    throw malformed(path, `has a pattern that is ${show(pattern)}; expected a text`);
  const known = typeof format === 'string' ? formatPattern(format) : undefined;
  if (format !== undefined && known === undefined) throw unsupported(path, 'format', format);
  const [min, max] = counts(schema, 'minLength', 'maxLength', path);
  const parts = [pattern, known].flatMap((each) =>
    each === undefined ? [] : [`(${regexExpression(each, jsonCharacters)})`],
  );
  if (min > 0 || max !== Number.POSITIVE_INFINITY) {
    const keyword = min > 0 ? 'minLength' : 'maxLength';
    if (Math.max(min, Number.isFinite(max) ? max : 0) > MAX_LENGTH_OF_PATTERN)
      throw unsupported(path, keyword, `besides pattern or format, above ${MAX_LENGTH_OF_PATTERN}`);
    parts.push(anyText(min, max));
  }
  return parts.join(' & ');
}

function anyText(min: number, max: number): string {
  return repeated(jsonCharacters(EVERYTHING) ?? '', min, max);
}

/** Names that the properties of an object may have besides those that its schema lists. */
export class PropertyNames {
  readonly #schema: JsonObject;
  readonly #patterns: readonly (readonly [RegExp, string, JsonValue])[];
  readonly #path: string;

  /** @throws StructuredOutputsError for names that can't be told apart. */
  constructor(propertyNames: JsonValue | undefined, patternProperties: JsonObject, path: string) {
    this.#path = path;
    this.#schema = nameSchema(propertyNames, path);
    this.#patterns = Object.entries(patternProperties).map(([pattern, schema]) => {
      const inside = regexExpression(pattern, jsonCharacters);
      return [new RegExp(pattern, 'u'), inside, schema];
    });
    const [first, ...rest] = this.#patterns.map(([, , schema]) => JSON.stringify(schema));
    if (rest.some((each) => each !== first)) throw unsupported(path, 'patternProperties', 'besides another pattern');
    if (first !== undefined && !this.#isFree) throw unsupported(path, 'propertyNames', 'besides patternProperties');
  }

  get #isFree(): boolean {
    return Object.keys(this.#schema).length === 0;
  }

  /** Whether a name that is listed may occur. */
  allows(name: string): boolean {
    const { enum: listed, pattern, format } = this.#schema;
    const [min, max] = counts(this.#schema, 'minLength', 'maxLength', this.#path);
    if (format !== undefined) throw unsupported(this.#path, 'propertyNames', 'besides properties');
    const { length } = [...name];
    const isListed = !Array.isArray(listed) || listed.includes(name);
    return (
      isListed && length >= min && length <= max && (typeof pattern !== 'string' || new RegExp(pattern, 'u').test(name))
    );
  }

  /** Schema of the patterns that a name has. */
  patternOf(name: string): JsonValue | undefined {
    return this.#patterns.find(([pattern]) => pattern.test(name))?.[2];
  }

  /** Expressions for names of patterns that are none of these. */
  patterns(known: readonly string[]): readonly { readonly name: string; readonly schema: JsonValue }[] {
    return this.#patterns.map(([, inside, schema]) => ({ name: quoted(`(${inside})${except(known)}`), schema }));
  }

  /** Expression for other names than these; undefined where they may be any, and '' where there is none. */
  others(known: readonly string[]): string | undefined {
    if (this.#patterns.length > 0) return '';
    if (this.#isFree) return undefined;
    const { enum: listed } = this.#schema;
    if (Array.isArray(listed)) {
      const left = listed.filter((name) => typeof name === 'string' && !known.includes(name) && this.allows(name));
      return left.length === 0 ? '' : oneOf(left.map((name) => literal(JSON.stringify(name))));
    }
    const [min, max] = counts(this.#schema, 'minLength', 'maxLength', this.#path);
    if (min > max) return '';
    return quoted(`(${limitedText(this.#schema, this.#path) ?? anyText(min, max)})${except(known)}`);
  }
}

function quoted(inside: string): string {
  return `("\\"" (${inside}) "\\"")`;
}

function except(names: readonly string[]): string {
  if (names.length === 0) return '';
  return ` &! ${oneOf(names.map((name) => literal(JSON.stringify(name).slice(1, -1))))}`;
}

/** What names must be, besides texts. */
function nameSchema(schema: JsonValue | undefined, path: string): JsonObject {
  if (schema === undefined || schema === true) return {};
  if (!isJsonObject(schema)) throw unsupported(path, 'propertyNames', schema);
  const { type = 'string', const: only, ...rest } = schema;
  const own = Object.entries(only === undefined ? rest : { ...rest, enum: [only] }).filter(
    ([keyword]) => KEYWORDS.get(keyword) !== 'annotation',
  );
  const known = ['enum', 'pattern', 'format', 'minLength', 'maxLength'];
  const other = own.find(([keyword]) => !known.includes(keyword));
  if (type !== 'string' || other) throw unsupported(path, 'propertyNames', schema);
  return Object.fromEntries(own);
}
