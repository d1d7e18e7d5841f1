import { VERSION } from '../../version.generated.ts';
import type { ServedModel } from '../answer/served-model.ts';
import { anthropicRoutes } from '../anthropic/routes.ts';
import { ollamaRoutes } from '../ollama/routes.ts';
import type { ServerMetrics } from '../request/server-metrics.ts';
import { responseRoutes } from '../responses/routes.ts';
import { chatCompletions } from './chat-completions.ts';
import { completions } from './completions.ts';
import { health } from './health.ts';
import { getModel, listModels } from './models.ts';
import { openApiDocument } from './openapi.ts';
import type { Route } from './route.ts';
import { detokenize, tokenize } from './tokenization.ts';

const JSON_TYPE = 'application/json';
const EVENTS = 'text/event-stream';

/** The API of a server. */
export function apiRoutes(model: ServedModel, metrics: ServerMetrics): readonly Route[] {
  const routes: readonly Route[] = [
    {
      method: 'GET',
      path: '/v1/models',
      summary: 'Lists the model under its names',
      answers: [JSON_TYPE],
      handler: listModels(model),
    },
    {
      method: 'GET',
      path: '/v1/models/:model{.+}',
      summary: 'Describes the model',
      answers: [JSON_TYPE],
      handler: getModel(model),
    },
    {
      method: 'POST',
      path: '/v1/completions',
      summary: 'Continues texts',
      body: 'completion',
      answers: [JSON_TYPE, EVENTS],
      handler: completions(model),
    },
    {
      method: 'POST',
      path: '/v1/chat/completions',
      summary: 'Answers a conversation',
      body: 'chat',
      answers: [JSON_TYPE, EVENTS],
      handler: chatCompletions(model),
    },
    ...responseRoutes(model),
    ...anthropicRoutes(model),
    ...ollamaRoutes(model),
    {
      method: 'POST',
      path: '/tokenize',
      summary: 'Gives the token ids of a text or a conversation',
      body: 'tokenize',
      answers: [JSON_TYPE],
      handler: tokenize(model),
    },
    {
      method: 'POST',
      path: '/detokenize',
      summary: 'Gives the text of token ids',
      body: 'detokenize',
      answers: [JSON_TYPE],
      handler: detokenize(model),
    },
    {
      method: 'GET',
      path: '/health',
      summary: 'Says whether requests are taken',
      answers: [JSON_TYPE],
      handler: health(model.llm.engine, metrics),
    },
    {
      method: 'GET',
      path: '/version',
      summary: 'Gives the version of the server',
      answers: [JSON_TYPE],
      handler: (c) => c.json({ version: VERSION }),
    },
    {
      method: 'GET',
      path: '/metrics',
      summary: "Gives metrics in Prometheus's text format",
      answers: ['text/plain'],
      handler: async (c) => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType }),
    },
    {
      method: 'GET',
      path: '/openapi.json',
      summary: 'Gives this document',
      answers: [JSON_TYPE],
      handler: (c) => c.body(document, 200, { 'content-type': JSON_TYPE }),
    },
  ];
  const document = JSON.stringify(openApiDocument(routes, VERSION));
  return routes;
}
