import { z } from 'zod';
import { chatMessage } from './chat-message.ts';
import { chatTemplateFields } from './chat-template-fields.ts';
import { badRequest } from './http-error.ts';
import { ignoredFields, promptFields, samplingFields, streamFields } from './sampling-fields.ts';
import { structuredFields } from './structured-fields.ts';

/** `POST /v1/chat/completions` */
export const chatRequest = z.strictObject({
  model: z.string().optional().describe('A name that /v1/models lists. Default: the one model.'),
  messages: z.array(chatMessage).min(1),
  max_completion_tokens: z
    .int()
    .optional()
    .describe('Tokens to generate at most. Default: all that the server allows.'),
  max_tokens: z.int().optional().describe('Older name of max_completion_tokens.'),
  logprobs: z.boolean().optional().describe("Gives every token's probability."),
  top_logprobs: z
    .int()
    .optional()
    .describe('With logprobs: this many of the likeliest tokens in place of each, up to 20.'),
  ...samplingFields,
  ...structuredFields,
  ...promptFields,
  ...streamFields,
  ...ignoredFields,
  ...chatTemplateFields,
  chat_template: z
    .string()
    .optional()
    .describe("Jinja source in place of the model's chat template, where the server trusts its clients with it."),
  parallel_tool_calls: z.boolean().optional().describe('Whether an answer may have several calls. Default: true.'),
  thinking_token_budget: z.int().optional().describe('Tokens after which thoughts are ended. Default: no limit.'),
  include_reasoning: z.boolean().optional().describe('Whether the answer gives thoughts. Default: true.'),
});

export type ChatRequest = z.infer<typeof chatRequest>;

/** How many likeliest tokens come with each; undefined: no logprobs. @throws HttpError about a count without `logprobs` */
export function likeliestCount(body: Partial<Pick<ChatRequest, 'logprobs' | 'top_logprobs'>>): number | undefined {
  const { logprobs, top_logprobs: count = 0 } = body;
  if (logprobs) return count;
  if (count === 0) return undefined;
  throw badRequest("'top_logprobs' needs 'logprobs': true.", 'top_logprobs', 'invalid_value');
}
