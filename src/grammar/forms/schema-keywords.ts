import type { JsonObject, JsonValue } from '../../checkpoint/json/json.ts';
import { StructuredOutputsError } from '../../errors.ts';

/** Keywords of JSON Schema that are known: those that a value depends on, and those that only describe. */
export const KEYWORDS: ReadonlyMap<string, 'constraint' | 'annotation'> = new Map([
  ...[
    'type',
    'enum',
    'const',
    'properties',
    'required',
    'additionalProperties',
    'items',
    'prefixItems',
    'minItems',
    'maxItems',
    'minLength',
    'maxLength',
    'pattern',
    'format',
    'multipleOf',
    'patternProperties',
    'propertyNames',
    'uniqueItems',
    'minimum',
    'maximum',
    'exclusiveMinimum',
    'exclusiveMaximum',
    'allOf',
    'anyOf',
    'oneOf',
    '$ref',
  ].map((keyword) => [keyword, 'constraint'] as const),
  ...[
    '$schema',
    '$id',
    '$comment',
    '$defs',
    'definitions',
    'title',
    'description',
    'default',
    'examples',
    'deprecated',
    'readOnly',
    'writeOnly',
    'contentEncoding',
    'contentMediaType',
    'strict',
    'nullable',
  ].map((keyword) => [keyword, 'annotation'] as const),
]);

/** A value in a message, shortened. */
export function show(value: JsonValue | undefined): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

export function unsupported(path: string, keyword: string, value: JsonValue | undefined): StructuredOutputsError {
  const what = typeof value === 'string' && value.startsWith('besides ') ? value : show(value);
  return new StructuredOutputsError(
    `The schema at ${path} has '${keyword}' ${what}, which is not supported.`,
    'docs/structured-output.md lists what is. Leave it out, and check the answer for it.',
  );
}

/** Above it a repetition needs more states than a grammar should have. */
const MAX_REPETITIONS = 10_000;

export function number(schema: JsonObject, keyword: string, path: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined || (typeof value === 'number' && Number.isFinite(value))) return value;
  throw malformed(path, `has a ${keyword} that is ${show(value)}; expected a number`);
}

/** The least and the most of a keyword that counts. */
export function counts(schema: JsonObject, least: string, most: string, path: string): readonly [number, number] {
  const of = (keyword: string, fallback: number) => {
    const value = number(schema, keyword, path) ?? fallback;
    if (value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && value >= 0 && value <= MAX_REPETITIONS))
      return value;
    throw malformed(path, `has a ${keyword} that is ${value}; expected an integer from 0 to ${MAX_REPETITIONS}`);
  };
  return [of(least, 0), of(most, Number.POSITIVE_INFINITY)];
}

export function malformed(path: string, problem: string): StructuredOutputsError {
  return new StructuredOutputsError(`The schema at ${path} ${problem}.`);
}
