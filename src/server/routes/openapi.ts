import { z } from 'zod';
import { BODY_FORMS } from '../request/json-body.ts';
import { OPENAI_ERRORS } from '../wire/error-form.ts';
import { ERROR_FORMS, errorFormOf } from './error-forms.ts';
import { isGuarded, type Route } from './route.ts';

const JSON_TYPE = 'application/json';

/** The OpenAPI document of these routes. Bodies are described by the schemas that check them. */
export function openApiDocument(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)(\{.*?\})?/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(path, route) };
  }
  const forms = [OPENAI_ERRORS, ...ERROR_FORMS.map(([, form]) => form)];
  return {
    openapi: '3.1.0',
    info: { title: 'mamba2', version, description: 'Mamba-2 inference with the APIs of OpenAI, Anthropic and Ollama.' },
    paths,
    components: {
      schemas: Object.fromEntries(forms.map(({ name, schema }) => [name, schema])),
      responses: Object.fromEntries(forms.map(({ name }) => [name, errorResponse(name)])),
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer' },
        apiKeyHeader: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      },
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
      ...(needsKey && { default: { $ref: `#/components/responses/${errorFormOf(path).name}` } }),
    },
    ...(needsKey && { security: [{}, { apiKey: [] }, { apiKeyHeader: [] }] }),
  };
}

function errorResponse(name: string): object {
  return {
    description: 'Why there is no answer',
    content: { [JSON_TYPE]: { schema: { $ref: `#/components/schemas/${name}` } } },
  };
}

function jsonSchema(schema: z.ZodType): object {
  // Schemas that check by code have metadata that describes them.
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}
