import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/checkpoint/json/json-parser.ts';
import { StructuredOutputsError } from '../../src/errors.ts';
import { jsonSchemaGrammar } from '../../src/grammar/forms/json-schema.ts';
import { few, runs } from '../runs.ts';
import { bundledTokenizer, byteFallback } from '../text/tokenizers.ts';
import { RandomAnswers } from './answers.ts';
import { ajv, randomSchema } from './random-schemas.ts';

const bundled = await bundledTokenizer();
const byteLevel = new RandomAnswers(bundled, 0);
const sentencePiece = new RandomAnswers(byteFallback, 1);
afterAll(() => {
  byteLevel.grammars.dispose();
  sentencePiece.grammars.dispose();
});

async function assertValid(schema: JsonObject, seed: number, answers = byteLevel): Promise<void> {
  const text = await answers.answer({ json: schema }, seed);
  if (text === undefined) return;
  const value: unknown = JSON.parse(text);
  const isValid = ajv.validate(schema, value);
  expect(isValid, `${text} for ${JSON.stringify(schema)}: ${ajv.errorsText()}`).toBe(true);
}

const SCHEMAS: readonly JsonObject[] = [
  {},
  { type: 'object' },
  { type: ['integer', 'null'] },
  { type: 'number' },
  { type: 'integer', minimum: -17, maximum: 1234 },
  { type: 'integer', exclusiveMinimum: 3, exclusiveMaximum: 5 },
  { type: 'integer', minimum: 995 },
  { type: 'array', items: { type: 'integer', minimum: 2, maximum: 2999 }, maxItems: 2 },
  { type: 'integer', maximum: -995 },
  { type: 'number', minimum: 0, maximum: 1 },
  { type: 'number', minimum: -2.5, maximum: 0.25 },
  { type: 'number', exclusiveMinimum: 0 },
  { type: 'number', exclusiveMinimum: -1, exclusiveMaximum: -0.5 },
  { type: 'string', minLength: 2, maxLength: 5 },
  { type: 'string', minLength: 3 },
  { type: 'string', pattern: '^[A-Z]{2}-\\d+("|\\\\|\\n)?$' },
  { type: 'string', pattern: 'a.c[^x"]' },
  { enum: [1, 'é"\n', null, { a: [1] }, '日本😀'] },
  { type: 'string', enum: ['a', 1, 'b'] },
  { const: { a: 1 } },
  { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 3 },
  { type: 'array', maxItems: 0 },
  {
    type: 'array',
    prefixItems: [{ type: 'null' }, { type: 'boolean' }],
    items: { const: 'x' },
    minItems: 1,
    maxItems: 4,
  },
  { type: 'array', prefixItems: [{ type: 'null' }], items: false },
  { type: 'object', properties: { a: { type: 'null' }, b: { type: 'boolean' }, c: {} }, required: ['b'] },
  { type: 'object', properties: { a: { type: 'null' } }, additionalProperties: { type: 'integer' } },
  {
    type: 'object',
    properties: { ab: { type: 'null' }, a: { type: 'null' } },
    additionalProperties: true,
    required: ['z'],
  },
  { type: 'object', required: ['x', 'y'] },
  { anyOf: [{ type: 'integer' }, { type: 'object', properties: { a: { const: 1 } }, required: ['a'] }] },
  {
    type: 'object',
    properties: { v: { type: 'integer' }, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } },
    required: ['v', 'next'],
  },
  {
    $defs: {
      node: {
        type: 'object',
        properties: { children: { type: 'array', items: { $ref: '#/$defs/node' } } },
        required: ['children'],
      },
    },
    $ref: '#/$defs/node',
  },
  {
    oneOf: [
      { type: 'object', properties: { kind: { const: 'a' }, x: { type: 'integer' } }, required: ['kind', 'x'] },
      { type: 'object', properties: { kind: { const: 'b' }, y: { type: 'string' } }, required: ['kind'] },
    ],
  },
  {
    allOf: [
      { type: 'object', properties: { a: { type: 'integer', minimum: 3 } } },
      { properties: { a: { maximum: 9 } }, required: ['a'] },
    ],
  },
  {
    type: 'object',
    properties: { a: { type: 'null' }, b: { type: 'null' } },
    anyOf: [{ required: ['a'] }, { required: ['b'] }],
  },
];

describe('answers of a random model are accepted by their schema', () => {
  test.each(few(SCHEMAS, 12).map((schema) => [JSON.stringify(schema), schema] as const))('%s', async (_, schema) => {
    for (let seed = 0; seed < 8; seed++) {
      await assertValid(schema, seed);
      await assertValid(schema, seed, sentencePiece);
    }
  });

  test.each(few(['date-time', 'uuid', 'date', 'time', 'ipv4', 'email', 'hostname', 'uri'], 2))(
    'the format %s',
    async (format) => {
      for (let seed = 0; seed < 5; seed++) await assertValid({ type: 'string', format }, seed);
    },
  );

  test('whatever the schema', async () => {
    await fc.assert(
      fc.asyncProperty(randomSchema, fc.nat(), async (each, seed) => {
        try {
          await assertValid(each, seed);
        } catch (error) {
          // Such as an object that must have a property that it must not have.
          if (!(error instanceof StructuredOutputsError && error.message.includes('accepts no value'))) throw error;
        }
      }),
      { numRuns: runs(1000) },
    );
  });
});

describe('a schema is refused by name', () => {
  test.each<[JsonValue, string]>([
    [{ not: {} }, "'not'"],
    [{ type: 'object', properties: { a: { contains: {} } } }, "#/properties/a has 'contains'"],
    [{ uniqueItems: true }, "'uniqueItems'"],
    [{ if: {} }, "'if'"],
    [{ minProperties: 1 }, "'minProperties'"],
    [{ type: 'text' }, 'the type "text"'],
    [{ enum: [] }, 'enum []'],
    [{ type: 'string', pattern: '(' }, 'malformed'],
    [{ type: 'string', pattern: 'a(?=b)b' }, 'lookaround'],
    [{ type: 'string', pattern: '(?<=a)b' }, 'lookaround'],
    [{ type: 'string', pattern: '\\bx' }, "'\\b'"],
    [{ type: 'string', pattern: 'a', maxLength: 300 }, "'maxLength'"],
    [{ type: 'string', format: 'regex' }, "'format'"],
    [{ type: 'integer', minimum: 5, maximum: 1 }, 'accepts no value'],
    [{ type: 'string', minLength: 5, maxLength: 1 }, 'accepts no value'],
    [false, 'accepts no value'],
    [{ $ref: '#' }, 'accepts no value'],
    [{ type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, 'accepts no value'],
    [{ $ref: '#/nowhere' }, 'refers to "#/nowhere"'],
    [{ $ref: 'https://example.com/schema' }, "'$ref'"],
    [{ type: 'object', additionalProperties: false, required: ['a'] }, 'accepts no value'],
    [{ oneOf: [{ type: 'integer' }, { minimum: 2 }] }, 'oneOf'],
    [{ allOf: [{ type: 'integer' }, { type: 'string' }] }, 'accepts no value'],
    [null, 'expected an object'],
    [{ type: 'string', maxLength: 1e9 }, 'maxLength'],
  ])('%j', (schema, words) => {
    expect(() => jsonSchemaGrammar(schema)).toThrow(StructuredOutputsError);
    expect(() => jsonSchemaGrammar(schema)).toThrow(words);
  });

  test('one that is nested without end', () => {
    let schema: JsonObject = {};
    for (let depth = 0; depth < 2000; depth++) schema = { type: 'array', items: schema };
    expect(() => jsonSchemaGrammar(schema)).toThrow('nested more than 100 deep');
  });

  test('one that makes a grammar too large', () => {
    const properties = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`p${i}`, {}]));
    expect(() => jsonSchemaGrammar({ type: 'object', properties })).toThrow('more than 20000 rules');
  });
});
