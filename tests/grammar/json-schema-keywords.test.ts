import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, describe, expect, test } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/checkpoint/json/json-parser.ts';
import { StructuredOutputsError } from '../../src/errors.ts';
import { jsonSchemaGrammar } from '../../src/grammar/forms/json-schema.ts';
import { bundledTokenizer } from '../text/tokenizers.ts';
import { RandomAnswers } from './answers.ts';

const answers = new RandomAnswers(await bundledTokenizer(), 0);
afterAll(() => answers.grammars.dispose());
const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false });

/** What zod writes for an address: a format and a pattern with lookahead. */
const ADDRESS =
  "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$";

const record = (names: JsonObject, more: JsonObject = {}) => ({
  type: 'object',
  propertyNames: names,
  additionalProperties: { type: 'integer' },
  ...more,
});

/** Schemas, texts that are answers, and texts that are none. */
const CASES: readonly (readonly [JsonObject, readonly string[], readonly string[]])[] = [
  [{ type: 'integer', multipleOf: 5 }, ['0', '5', '-5', '100', '12345'], ['12', '05', '-0', '']],
  [{ type: 'integer', multipleOf: 25, minimum: 10 }, ['25', '50', '1000'], ['0', '10', '1010', '-25']],
  [{ type: 'integer', multipleOf: 7, minimum: -10, maximum: 30 }, ['-7', '0', '28'], ['6', '35', '-14']],
  [record({ type: 'string' }), ['{}', '{"a":1,"b":2}'], ['{"a":"x"}']],
  [record({ enum: ['a', 'ab', 'b'] }), ['{"ab":1,"a":2}', '{}'], ['{"abb":1}', '{"c":1}']],
  [record({ enum: ['a', 'b'] }, { required: ['a'] }), ['{"a":1}', '{"a":1,"b":2}'], ['{}', '{"b":1}']],
  [record({ minLength: 2, maxLength: 3 }), ['{"ab":1,"abc":2}'], ['{"a":1}', '{"abcd":1}']],
  [
    record({ pattern: '^[a-z]+$' }, { properties: { x: { type: 'null' }, Y: {} } }),
    ['{"x":null,"a":1}', '{"a":1}'],
    ['{"x":1}', '{"Y":1}', '{"A":1}', '{"x":null,"x":1}'],
  ],
  [
    {
      type: 'object',
      patternProperties: { '^x-': { type: 'integer' } },
      properties: { name: { type: 'string' }, 'x-a': { minimum: 3 } },
      additionalProperties: false,
    },
    ['{"name":"b"}', '{"x-a":4}', '{"name":"b","x-a":3}', '{}'],
    ['{"x-a":2}', '{"x-a":4,"x-a":1}', '{"x-":"q"}', '{"y":1}'],
  ],
  [
    { type: 'array', allOf: [{ prefixItems: [{ minimum: 3 }] }], items: { type: 'integer', minimum: 5 } },
    ['[]', '[5,6]'],
    ['[4]', '[5,4]', '[null]'],
  ],
  [{ type: 'array', items: { type: 'null' }, uniqueItems: false }, ['[null,null]'], ['[1]']],
  [
    { type: 'string', format: 'email', pattern: ADDRESS },
    ['"a@b.co"', '"a.b@c.de"'],
    ['"a..b@b.co"', '".a@b.co"', '"a@b.c"'],
  ],
  [{ type: 'string', pattern: '^[a-z"]+$', minLength: 2, maxLength: 4 }, ['"ab"', '"abc\\""'], ['"a"', '"abcde"']],
  [{ type: 'string', pattern: '(?=.*b)[abc]{2,}' }, ['"ab"', '"ccb"'], ['"ac"', '"b"']],
  [
    { type: 'string', format: 'ipv6' },
    ['"0:0:0:0:0:0:0:1"', '"fe80:0:0:0:1:2:3:abcd"'],
    ['"1:2:3"', '"g:0:0:0:0:0:0:1"'],
  ],
  [{ type: 'string', format: 'duration' }, ['"P1D"', '"PT2H30M"', '"P3DT4H"'], ['"P"', '"P1DT"', '"1D"']],
];

describe('answers have what further keywords ask for', () => {
  test.each(CASES.map(([schema, allowed, refused]) => [JSON.stringify(schema), schema, allowed, refused] as const))(
    '%s',
    async (_, schema, allowed, refused) => {
      for (const text of allowed) {
        expect([text, await answers.accepts({ json: schema }, text, 1)]).toEqual([text, true]);
        expect([text, ajv.validate(schema, JSON.parse(text))]).toEqual([text, true]);
      }
      for (const text of refused) {
        expect([text, await answers.accepts({ json: schema }, text, 1)]).toEqual([text, false]);
      }
      for (let seed = 0; seed < 3; seed++) {
        const text = await answers.answer({ json: schema }, seed, 200);
        if (text !== undefined) expect([text, ajv.validate(schema, JSON.parse(text))]).toEqual([text, true]);
      }
    },
  );
});

test.each<[JsonValue, string]>([
  [{ type: 'integer', multipleOf: 7 }, "'multipleOf' 7"],
  [{ type: 'number', multipleOf: 0.01 }, "'multipleOf' 0.01"],
  [{ type: 'array', uniqueItems: true }, "'uniqueItems'"],
  [
    { type: 'object', patternProperties: { a: { type: 'null' }, b: {} } },
    "'patternProperties' besides another pattern",
  ],
  [{ type: 'object', patternProperties: { a: {} }, propertyNames: { enum: ['a'] } }, "'propertyNames' besides"],
  [{ type: 'object', propertyNames: { type: 'integer' } }, "'propertyNames'"],
  [{ type: 'object', propertyNames: { not: {} } }, "'propertyNames'"],
  [{ type: 'object', propertyNames: { enum: ['a'] }, required: ['b'] }, 'accepts no value'],
  [{ type: 'object', patternProperties: { '(': {} } }, 'malformed'],
])('%j is refused', (schema, words) => {
  expect(() => jsonSchemaGrammar(schema)).toThrow(StructuredOutputsError);
  expect(() => jsonSchemaGrammar(schema)).toThrow(words);
});
