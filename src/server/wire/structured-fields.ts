import { z } from 'zod';
import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import { badRequest } from './http-error.ts';

const anyObject = z.custom<JsonObject>(isJsonObject, 'expected an object');
const anySchema = z.custom<JsonObject | string>(
  (value) => isJsonObject(value) || typeof value === 'string',
  'expected an object or its text',
);

/** Fields that say which form an answer must have. Schemas stay as they came: their order is the answer's. */
export const structuredFields = {
  response_format: anyObject.optional().meta({
    description:
      "OpenAI's: { type: 'text' }, { type: 'json_object' } or { type: 'json_schema', json_schema: { schema } }; also vLLM's structural_tag.",
    type: 'object',
  }),
  structured_outputs: anyObject.optional().meta({
    description: "vLLM's: one of json, json_object, regex, choice, grammar and structural_tag.",
    type: 'object',
  }),
  guided_json: anySchema
    .optional()
    .meta({ description: 'Older name of structured_outputs.json.', anyOf: [{ type: 'object' }, { type: 'string' }] }),
  guided_regex: z.string().optional().describe('Older name of structured_outputs.regex.'),
  guided_choice: z.array(z.string()).optional().describe('Older name of structured_outputs.choice.'),
  guided_grammar: z.string().optional().describe('Older name of structured_outputs.grammar.'),
} as const;

type StructuredBody = z.infer<z.ZodObject<typeof structuredFields>>;

/** The form that a request asks for, under the engine's names. @throws HttpError 400 */
export function toStructuredOutputs(body: StructuredBody): StructuredOutputs | undefined {
  const forms: readonly (readonly [field: string, form: StructuredOutputs | undefined])[] = [
    ['response_format', fromResponseFormat(body.response_format, 'response_format')],
    ['structured_outputs', fromStructuredOutputs(body.structured_outputs)],
    ['guided_json', given('json', body.guided_json)],
    ['guided_regex', given('regex', body.guided_regex)],
    ['guided_choice', given('choice', body.guided_choice)],
    ['guided_grammar', given('grammar', body.guided_grammar)],
  ];
  const asked = forms.filter(([, form]) => form !== undefined);
  if (asked.length > 1) {
    const [[first], [second]] = asked;
    throw badRequest(
      `'${first}' and '${second}' ask for two forms of one answer. Give one of them.`,
      second,
      'invalid_value',
    );
  }
  return asked[0]?.[1];
}

function given<K extends keyof StructuredOutputs>(kind: K, value: StructuredOutputs[K]): StructuredOutputs | undefined {
  return value === undefined ? undefined : { [kind]: value };
}

/** The form that a format of OpenAI's asks for. @param field that it came in. */
export function fromResponseFormat(format: JsonObject | undefined, field: string): StructuredOutputs | undefined {
  if (format === undefined || format.type === 'text') return undefined;
  if (format.type === 'json_object') return { jsonObject: true };
  if (format.type === 'structural_tag')
    return { structuralTag: isJsonObject(format.format) ? format : fromLegacyTags(format, field) };
  if (format.type !== 'json_schema') {
    const found = JSON.stringify(format.type) ?? 'missing';
    throw refused(field, `has the type ${found}; expected text, json_object, json_schema or structural_tag.`);
  }
  const { json_schema: named } = format;
  if (!isJsonObject(named)) throw refused(field, 'has no json_schema, which is an object with a schema.');
  const { schema } = named;
  // OpenAI takes a missing one for any object.
  if (schema === undefined || schema === null) return { jsonObject: true };
  if (!isJsonObject(schema)) throw refused(field, `has a schema that is no object.`);
  return { json: schema };
}

/** vLLM's older form: tags with schemas, and the texts that they begin with. */
function fromLegacyTags({ structures, triggers }: JsonObject, field: string): JsonObject {
  if (!Array.isArray(structures) || !Array.isArray(triggers)) {
    throw refused(field, 'has neither a format nor structures and triggers.');
  }
  const tags = structures.map((each) => {
    const { begin, end, schema } = isJsonObject(each) ? each : {};
    return { type: 'tag', begin, content: { type: 'json_schema', json_schema: schema }, end };
  });
  return { type: 'structural_tag', format: { type: 'triggered_tags', triggers, tags } as JsonObject };
}

/** vLLM's names and the engine's. */
const KINDS: ReadonlyMap<string, keyof StructuredOutputs> = new Map([
  ['json', 'json'],
  ['json_object', 'jsonObject'],
  ['regex', 'regex'],
  ['choice', 'choice'],
  ['grammar', 'grammar'],
  ['structural_tag', 'structuralTag'],
]);

function fromStructuredOutputs(asked: JsonObject | undefined): StructuredOutputs | undefined {
  if (asked === undefined) return undefined;
  const members = Object.entries(asked).filter(([, value]) => value !== null && value !== false);
  const form: Partial<Record<keyof StructuredOutputs, JsonValue>> = {};
  for (const [name, value] of members) {
    const kind = KINDS.get(name);
    if (!kind)
      throw refused(
        'structured_outputs',
        `has '${name}', which is not supported; expected one of ${[...KINDS.keys()].join(', ')}.`,
      );
    form[kind] = value;
  }
  // The engine checks the values.
  return members.length === 0 ? undefined : (form as StructuredOutputs);
}

function refused(field: string, problem: string) {
  return badRequest(`'${field}' ${problem}`, field, 'invalid_value');
}
