import { z } from 'zod';
import { BODY_FORMS } from '../request/json-body.ts';
import { isGuarded, type Route } from './route.ts';

const JSON_TYPE = 'application/json';

/** The OpenAPI document of these routes. Bodies are described by the schemas that check them. */
export function openApiDocument(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)(\{.*?\})?/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(path, route) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'mamba2', version, description: "Mamba-2 inference with OpenAI's API." },
    paths,
    components: {
      schemas: { Error: ERROR_SCHEMA },
      responses: {
        Error: {
          description: 'Why there is no answer',
          content: { [JSON_TYPE]: { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
      securitySchemes: { apiKey: { type: 'http', scheme: 'bearer' } },
    },
  };
}

function operation(path: string, { summary, body, answers }: Route): object {
  const needsKey = isGuarded(path);
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  return {
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: { required: true, content: { [JSON_TYPE]: { schema: jsonSchema(BODY_FORMS[body]) } } },
    }),
    responses: {
      200: { description: 'Done', content: Object.fromEntries(answers.map((type) => [type, {}])) },
      ...(needsKey && { default: { $ref: '#/components/responses/Error' } }),
    },
    ...(needsKey && { security: [{}, { apiKey: [] }] }),
  };
}

function jsonSchema(schema: z.ZodType): object {
  // Schemas that check by code have metadata that describes them.
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

const nullableString = { type: ['string', 'null'] };

const ERROR_SCHEMA = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message', 'type', 'param', 'code'],
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        param: nullableString,
        code: nullableString,
      },
    },
  },
};
