import { z } from 'zod';
import { chatRequest } from './wire/chat-request.ts';
import { completionRequest } from './wire/completion-request.ts';
import { detokenizeRequest, tokenizeRequest } from './wire/tokenization.ts';

/** What an operation takes and gives. */
interface Operation {
  readonly summary: string;
  readonly body?: z.ZodType;
  /** Media types of its answer. */
  readonly answers: readonly string[];
}

const JSON_TYPE = 'application/json';

const OPERATIONS: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
  '/v1/models': { get: { summary: 'Lists the model under its names', answers: [JSON_TYPE] } },
  '/v1/models/{model}': { get: { summary: 'Describes the model', answers: [JSON_TYPE] } },
  '/v1/completions': {
    post: { summary: 'Continues texts', body: completionRequest, answers: [JSON_TYPE, 'text/event-stream'] },
  },
  '/v1/chat/completions': {
    post: { summary: 'Answers a conversation', body: chatRequest, answers: [JSON_TYPE, 'text/event-stream'] },
  },
  '/tokenize': {
    post: { summary: 'Token ids of a text or a conversation', body: tokenizeRequest, answers: [JSON_TYPE] },
  },
  '/detokenize': { post: { summary: 'The text of token ids', body: detokenizeRequest, answers: [JSON_TYPE] } },
  '/health': { get: { summary: 'Whether requests are taken', answers: [JSON_TYPE] } },
  '/version': { get: { summary: 'Version of the server', answers: [JSON_TYPE] } },
  '/metrics': { get: { summary: "Metrics in Prometheus's text format", answers: ['text/plain'] } },
  '/openapi.json': { get: { summary: 'This document', answers: [JSON_TYPE] } },
};

/** The OpenAPI document. Bodies are described by the schemas that check them. */
export function openApiDocument(version: string): object {
  const paths = Object.entries(OPERATIONS).map(([path, operations]) => [
    path,
    Object.fromEntries(Object.entries(operations).map(([method, each]) => [method, operation(path, each)])),
  ]);
  return {
    openapi: '3.1.0',
    info: { title: 'mamba2', version, description: "Mamba-2 inference behind OpenAI's API." },
    paths: Object.fromEntries(paths),
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

function operation(path: string, { summary, body, answers }: Operation): object {
  const needsKey = path.startsWith('/v1/') || body !== undefined;
  return {
    summary,
    ...(path.includes('{model}') && {
      parameters: [{ name: 'model', in: 'path', required: true, schema: { type: 'string' } }],
    }),
    ...(body && { requestBody: { required: true, content: { [JSON_TYPE]: { schema: jsonSchema(body) } } } }),
    responses: {
      200: { description: 'Done', content: Object.fromEntries(answers.map((type) => [type, {}])) },
      ...(needsKey && { default: { $ref: '#/components/responses/Error' } }),
    },
    ...(needsKey && { security: [{}, { apiKey: [] }] }),
  };
}

function jsonSchema(schema: z.ZodType): object {
  // Parts that are checked by code describe themselves by their metadata.
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
