import type { Context } from 'hono';
import { answer } from '../answer/answer.ts';
import { askedAnswer } from '../answer/conversation.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import type { Route } from '../routes/route.ts';
import { toConversation, toPrompt } from './conversation.ts';
import { MessageWriter } from './message-writer.ts';

/** Anthropic's API. */
export function anthropicRoutes(model: ServedModel): readonly Route[] {
  return [
    {
      method: 'POST',
      path: '/v1/messages',
      summary: "Answers a conversation, in the form of Anthropic's API",
      body: 'messages',
      answers: ['application/json', 'text/event-stream'],
      handler: messages(model),
    },
    {
      method: 'POST',
      path: '/v1/messages/count_tokens',
      summary: 'Counts the tokens of a conversation',
      body: 'countTokens',
      answers: ['application/json'],
      handler: countTokens(model),
    },
  ];
}

/** `POST /v1/messages` */
function messages(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'messages');
    model.assertName(body.model);
    const { prompt, form, options } = await askedAnswer(model, toConversation(body), c.req.raw.signal);
    // Clients ask for as many tokens as the models of Anthropic take.
    const maxTokens = model.fittingTokens(prompt.length, body.max_tokens);
    const writer = new MessageWriter({
      form,
      signature: c.get('record').id,
      showsThoughts: !(body.thinking && 'display' in body.thinking && body.thinking.display === 'omitted'),
      eagerTools: new Set(body.tools?.filter((tool) => tool.eager_input_streaming).map(({ name }) => name)),
      fillsContext: maxTokens < body.max_tokens,
    });
    const isStream = body.stream ?? false;
    return answer(c, model, { idPrefix: 'msg_', prompts: [prompt], options, maxTokens, isStream }, writer);
  };
}

/** `POST /v1/messages/count_tokens` */
function countTokens(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'countTokens');
    model.assertName(body.model);
    const { messages, inputs } = toPrompt(body);
    // Tools are checked as in a request for an answer.
    const { template } = model.chatFormat.plan(inputs);
    const { count } = await model.list(model.chatInput(messages, template), false, c.req.raw.signal);
    return c.json({ input_tokens: count });
  };
}
