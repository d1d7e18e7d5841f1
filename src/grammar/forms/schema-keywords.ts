import type { JsonValue } from '../../checkpoint/json/json-parser.ts';
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
