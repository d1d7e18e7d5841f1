import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import type { JsonObject, JsonValue } from '../../src/checkpoint/json/json-parser.ts';

export const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false });

const key = fc.constantFrom('a', 'ab', 'é', 'x"y', '');
/** A value of an enum. Ajv compares objects by calling their toString and valueOf, also those that are no functions. */
const listed = fc.jsonValue({ maxDepth: 1 }).filter((value) => !Object.keys(value ?? {}).some((name) => name in {}));
/** Schemas of all kinds, some of which accept nothing. */
export const { schema: randomSchema } = fc.letrec<{ schema: JsonObject }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<JsonObject>({ type: 'null' }, { type: 'boolean' }, { type: 'string' }, { type: 'number' }),
    fc.record({ type: fc.constant('string'), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 6 }) }),
    fc
      .tuple(fc.integer({ min: -2000, max: 2000 }), fc.nat(3000))
      .map(([minimum, more]) => ({ type: 'integer', minimum, maximum: minimum + more })),
    fc
      .tuple(fc.integer({ min: -300, max: 300 }), fc.integer({ min: 1, max: 500 }))
      .map(([low, more]) => ({ type: 'number', minimum: low / 8, maximum: (low + more) / 8 })),
    fc.array(listed, { minLength: 1, maxLength: 4 }).map((values) => ({ enum: values as JsonValue[] })),
    fc.record({
      type: fc.constant('array'),
      items: tie('schema'),
      minItems: fc.nat(2),
      maxItems: fc.integer({ min: 2, max: 4 }),
    }),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc
      .record({
        properties: fc.dictionary(key, tie('schema'), { maxKeys: 4 }),
        required: fc.uniqueArray(key, { maxLength: 3 }),
        additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
      })
      .map((object) => ({ type: 'object', ...object })),
  ),
}));
