import type { Context } from 'hono';
import { answer } from '../answer/answer.ts';
import { type AskedAnswer, askedAnswer, askedWithoutOldTurns } from '../answer/conversation.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import type { Route } from '../routes/route.ts';
import { ResponseWriter } from './response-writer.ts';
import { type ResponseRequest, toConversation } from './wire/response-request.ts';

/** OpenAI's API of responses. */
export function responseRoutes(model: ServedModel): readonly Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/responses',
      summary: 'Answers a conversation, as items; responses are not stored',
      body: 'response',
      answers: ['application/json', 'text/event-stream'],
      handler: createResponse(model),
    },
    {
      method: 'POST',
      path: '/v1/responses/input_tokens',
      summary: 'Counts the tokens of the input of a response',
      body: 'response',
      answers: ['application/json'],
      handler: countInputTokens(model),
    },
  ];
}

/** `POST /v1/responses` */
function createResponse(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'response');
    model.assertName(body.model);
    const asked = await ask(model, body, c.req.raw.signal);
    const { prompt, options } = asked;
    const { max_output_tokens: maxTokens, stream: isStream = false } = body;
    const request = { idPrefix: 'resp_', prompts: [prompt], options, maxTokens, isStream };
    return answer(c, model, request, new ResponseWriter(model, body, asked));
  };
}

/** `POST /v1/responses/input_tokens` */
function countInputTokens(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'response');
    model.assertName(body.model);
    const { prompt } = await ask(model, body, c.req.raw.signal);
    return c.json({ object: 'response.input_tokens', input_tokens: prompt.length });
  };
}

function ask(model: ServedModel, body: ResponseRequest, signal: AbortSignal): Promise<AskedAnswer> {
  const conversation = toConversation(body);
  if (body.truncation !== 'auto') return askedAnswer(model, conversation, signal);
  return askedWithoutOldTurns(model, conversation, body.max_output_tokens ?? 1, signal);
}
