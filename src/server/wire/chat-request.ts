import { z } from 'zod';
import { ignoredFields, samplingFields, streamFields } from './sampling-fields.ts';

const textPart = z.strictObject({ type: z.literal('text', 'only text parts are supported'), text: z.string() });

export const chatMessage = z.strictObject({
  role: z.string().describe("As the model's template has them: system, user, assistant."),
  content: z
    .union([z.string(), z.array(textPart)])
    .describe('A text, or parts of text, which are joined by line ends.'),
  name: z.string().optional(),
  refusal: z.null().optional(),
});

/** `POST /v1/chat/completions` */
export const chatRequest = z.strictObject({
  model: z.string().optional().describe('A name that /v1/models lists. Default: the one model.'),
  messages: z.array(chatMessage).min(1),
  max_completion_tokens: z
    .int()
    .optional()
    .describe('Tokens to generate at most. Default: all that the server allows.'),
  max_tokens: z.int().optional().describe('The same, under its older name.'),
  logprobs: z.boolean().optional().describe("Gives every token's probability."),
  top_logprobs: z.int().optional().describe('With logprobs: this many of the likeliest tokens beside each, up to 20.'),
  response_format: z.strictObject({ type: z.literal('text', 'only text is supported') }).optional(),
  ...samplingFields,
  ...streamFields,
  ...ignoredFields,
});

export type ChatRequest = z.infer<typeof chatRequest>;
export type ChatRequestMessage = z.infer<typeof chatMessage>;
