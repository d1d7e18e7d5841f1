import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../../checkpoint/json/json.ts';
import type { ChatTemplateInputs } from '../../../engine/chat/chat-options.ts';
import type { GenerateOptions } from '../../../engine/sample/sampling-params.ts';
import type { StructuredOutputs } from '../../../grammar/forms/structured-outputs.ts';
import type { ChatMessage } from '../../../text/chat/chat-message.ts';
import { templateMessages } from '../../wire/chat-message.ts';
import { chatTemplateFields, toTemplateInputs } from '../../wire/chat-template-fields.ts';
import { ignored } from '../../wire/ignored-fields.ts';
import { ignoredFields, samplingFields, streamFields, toGenerateOptions } from '../../wire/sampling-fields.ts';
import { fromResponseFormat } from '../../wire/structured-fields.ts';
import { inputField, inputMessages } from './response-input.ts';
import { toTools } from './response-tools.ts';

const { n: _, logprobs_mode: __, half_life_interval: ___, ...sampling } = samplingFields;
const { tools: _tools, tool_choice, chat_template_kwargs, enable_thinking } = chatTemplateFields;
const anyObject = z.custom<JsonObject>(isJsonObject, 'expected an object');

/** `POST /v1/responses` */
export const responseRequest = z.strictObject({
  model: z.string().optional().describe('A name that /v1/models lists. Default: the one model.'),
  input: inputField,
  instructions: z.string().optional().describe("The system's message, before the input."),
  max_output_tokens: z
    .int()
    .min(1)
    .optional()
    .describe('Tokens to generate at most, thoughts included. Default: all that the server allows.'),
  ...sampling,
  ...ignoredFields,
  ...ignored('max_tool_calls', 'prompt_cache_options'),
  top_logprobs: z.int().optional().describe('This many of the likeliest tokens in place of each, up to 20.'),
  include: z
    .array(z.string())
    .optional()
    .describe("With message.output_text.logprobs: gives every token's probability. Others change nothing."),
  text: anyObject.optional().meta({
    description:
      "Form of the text: { format: { type: 'text' } }, { format: { type: 'json_object' } } or { format: { type: 'json_schema', name, schema } }.",
    type: 'object',
  }),
  reasoning: z
    .object({ effort: z.string().optional(), summary: z.string().optional(), generate_summary: z.string().optional() })
    .optional()
    .describe(
      'Thoughts: effort is the variable reasoning_effort of the chat template; with a summary of any kind, thoughts come as the summary.',
    ),
  tools: z
    .array(z.unknown())
    .optional()
    .meta({
      description: "Functions that the model may call: { type: 'function', name, description, parameters, strict }.",
      type: 'array',
      items: { type: 'object' },
    }),
  tool_choice,
  parallel_tool_calls: z.boolean().optional().describe('Whether an answer may have several calls. Default: true.'),
  metadata: anyObject.optional().meta({ description: 'Given back with the answer.', type: 'object' }),
  truncation: z
    .enum(['auto', 'disabled'])
    .optional()
    .describe('auto: the oldest turns of a conversation that is too long are left out. Default: disabled.'),
  chat_template_kwargs,
  enable_thinking,
  thinking_token_budget: z.int().optional().describe('Tokens after which thoughts are ended. Default: no limit.'),
  stream: streamFields.stream,
  stream_options: z.object({}).optional().describe('Accepted and ignored.'),
});

export type ResponseRequest = z.infer<typeof responseRequest>;

/** Field with which clients ask for probabilities. */
const LOGPROBS = 'message.output_text.logprobs';

/** Whether the answer's tokens come with their probabilities. */
export function givesLogprobs({ include = [], top_logprobs: top = 0 }: ResponseRequest): boolean {
  return top > 0 || include.includes(LOGPROBS);
}

/** The request as a conversation. @throws HttpError 400 */
export function toConversation(body: ResponseRequest): {
  readonly messages: readonly ChatMessage[];
  readonly inputs: ChatTemplateInputs;
  readonly options: GenerateOptions;
} {
  const { tools, toolChoice } = toTools(body);
  const { chat_template_kwargs, enable_thinking, parallel_tool_calls, thinking_token_budget } = body;
  const template = { chat_template_kwargs, enable_thinking, parallel_tool_calls, thinking_token_budget };
  const inputs = toTemplateInputs({ ...template, reasoning_effort: body.reasoning?.effort });
  return {
    messages: templateMessages(inputMessages(body.input, body.instructions)),
    inputs: { ...inputs, tools, toolChoice },
    options: {
      ...toGenerateOptions(body),
      logprobs: givesLogprobs(body) ? (body.top_logprobs ?? 0) : undefined,
      structuredOutputs: textForm(body.text),
    },
  };
}

/** `text.format`: as `response_format` of chats, except that the members of a schema lie one level higher. */
function textForm(text: JsonObject | undefined): StructuredOutputs | undefined {
  const format = text?.format;
  if (!isJsonObject(format)) return undefined;
  const { type, ...named } = format;
  return fromResponseFormat(type === 'json_schema' ? { type, json_schema: named } : format, 'text.format');
}
