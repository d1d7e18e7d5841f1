import type { ServedModel } from '../answer/served-model.ts';
import type { Route } from '../routes/route.ts';
import { chat, generate } from './answers.ts';
import { running, show, tags, version } from './models.ts';

const JSON_TYPE = 'application/json';
const LINES = 'application/x-ndjson';

/** Ollama's API, as far as one loaded model makes sense of it. */
export function ollamaRoutes(model: ServedModel): readonly Route[] {
  return [
    {
      method: 'POST',
      path: '/api/chat',
      summary: "Answers a conversation, in the form of Ollama's API",
      body: 'ollamaChat',
      answers: [LINES, JSON_TYPE],
      handler: chat(model),
    },
    {
      method: 'POST',
      path: '/api/generate',
      summary: "Answers a prompt or continues a text, in the form of Ollama's API",
      body: 'ollamaGenerate',
      answers: [LINES, JSON_TYPE],
      handler: generate(model),
    },
    {
      method: 'POST',
      path: '/api/show',
      summary: 'Describes the model for clients of Ollama',
      body: 'ollamaShow',
      answers: [JSON_TYPE],
      handler: show(model),
    },
    {
      method: 'GET',
      path: '/api/tags',
      summary: 'Lists the model for clients of Ollama',
      answers: [JSON_TYPE],
      handler: tags(model),
    },
    {
      method: 'GET',
      path: '/api/ps',
      summary: 'Lists the loaded model for clients of Ollama',
      answers: [JSON_TYPE],
      handler: running(model),
    },
    {
      method: 'GET',
      path: '/api/version',
      summary: "Gives the version of Ollama's API",
      answers: [JSON_TYPE],
      handler: version(),
    },
  ];
}
