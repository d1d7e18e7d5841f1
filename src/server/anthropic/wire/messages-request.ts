import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../../checkpoint/json/json.ts';
import { ignored } from '../../wire/ignored-fields.ts';

const anyObject = z.custom<JsonObject>(isJsonObject, 'expected an object');

/** Error message for a block of an unsupported type, by its name. */
function unsupportedBlock({ input }: { readonly input?: unknown }): string {
  const type: unknown = isJsonObject(input) ? input.type : undefined;
  const found = typeof type === 'string' ? `'${type.slice(0, 80)}'` : 'missing';
  return `the type is ${found}; expected text, tool_use, tool_result, thinking or redacted_thinking`;
}

function onlyText({ input }: { readonly input?: unknown }): string {
  const type: unknown = isJsonObject(input) ? input.type : undefined;
  return `the type is ${typeof type === 'string' ? `'${type.slice(0, 80)}'` : 'missing'}; only text is supported`;
}

const textBlock = z.strictObject({
  type: z.literal('text'),
  text: z.string(),
  ...ignored('cache_control', 'citations'),
});

/** A list of blocks of which all must be text. */
const textBlocks = z.array(z.discriminatedUnion('type', [textBlock], { error: onlyText }));
const text = z.union([z.string(), textBlocks]);

const contentBlock = z.discriminatedUnion(
  'type',
  [
    textBlock,
    z.strictObject({
      type: z.literal('tool_use'),
      id: z.string(),
      name: z.string(),
      input: anyObject.meta({ type: 'object' }),
      ...ignored('cache_control', 'caller', 'toolset_name'),
    }),
    z.strictObject({
      type: z.literal('tool_result'),
      tool_use_id: z.string(),
      content: text.nullish(),
      ...ignored('is_error', 'cache_control', 'toolset_name'),
    }),
    z.strictObject({ type: z.literal('thinking'), thinking: z.string().optional(), ...ignored('signature') }),
    z.strictObject({ type: z.literal('redacted_thinking'), ...ignored('data') }),
  ],
  { error: unsupportedBlock },
);

export type ContentBlockParam = z.infer<typeof contentBlock>;

const message = z.strictObject({
  role: z.enum(['user', 'assistant', 'system']),
  content: z.union([z.string(), z.array(contentBlock)]),
});

const functionTool = z.strictObject({
  type: z
    .literal('custom', {
      error: ({ input }) => `the type is '${String(input).slice(0, 80)}'; tools of servers can't be used`,
    })
    .nullish(),
  name: z.string(),
  description: z.string().nullish(),
  input_schema: anyObject.meta({ type: 'object', description: 'JSON Schema of the input.' }),
  strict: z.boolean().nullish().describe('Whether a grammar enforces the schema.'),
  eager_input_streaming: z
    .boolean()
    .nullish()
    .describe('Streams an input while it grows; without, a call is sent when it is whole.'),
  ...ignored('cache_control', 'input_examples', 'allowed_callers', 'defer_loading'),
});

const oneCall = { disable_parallel_tool_use: z.boolean().optional() } as const;

const jsonFormat = z.strictObject({ type: z.literal('json_schema'), schema: anyObject.meta({ type: 'object' }) });

/** Fields that make the prompt. */
const promptFields = {
  model: z.string().optional().describe('A name that /v1/models lists. Default: the one model.'),
  messages: z.array(message).min(1),
  system: text.optional().describe('Instructions before the conversation.'),
  tools: z.array(functionTool).optional(),
  tool_choice: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('auto'), ...oneCall }),
      z.strictObject({ type: z.literal('any'), ...oneCall }),
      z.strictObject({ type: z.literal('tool'), name: z.string(), ...oneCall }),
      z.strictObject({ type: z.literal('none'), ...oneCall }),
    ])
    .optional(),
  thinking: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('enabled'), budget_tokens: z.int().optional(), display: z.string().optional() }),
      z.strictObject({ type: z.literal('adaptive'), display: z.string().optional() }),
      z.strictObject({ type: z.literal('disabled') }),
    ])
    .optional()
    .describe("Sets the template's enable_thinking. budget_tokens ends thoughts; display: omitted leaves them out."),
  output_config: z
    .strictObject({
      effort: z.string().nullish().describe("The template's reasoning_effort."),
      format: jsonFormat.nullish().describe('Form that the answer must have.'),
    })
    .optional(),
  output_format: jsonFormat.optional().describe('Older name of output_config.format.'),
  thread: z.unknown().optional().describe('Refused, so that clients send whole conversations: none is stored here.'),
  ...ignored('cache_control', 'speed', 'context_management', 'user_profile_id', 'workspace_id'),
} as const;

/** `POST /v1/messages` */
export const messagesRequest = z.strictObject({
  ...promptFields,
  max_tokens: z.int().describe('Tokens to generate at most; fewer where the server allows no more.'),
  stop_sequences: z.array(z.string()).optional().describe('Ends the answer before any of these.'),
  stream: z.boolean().optional().describe('Sends the answer as server-sent events while it is generated.'),
  temperature: z.number().optional().describe('0 takes the likeliest token. Default: the model’s, else 1.'),
  top_p: z.number().optional().describe('Keeps the likeliest tokens that together have this probability.'),
  top_k: z.int().optional().describe('Keeps this many of the likeliest tokens.'),
  ...ignored('metadata', 'service_tier', 'inference_geo', 'diagnostics'),
});

export type MessagesRequest = z.infer<typeof messagesRequest>;

/** `POST /v1/messages/count_tokens` */
export const countTokensRequest = z.strictObject(promptFields);

export type CountTokensRequest = z.infer<typeof countTokensRequest>;
