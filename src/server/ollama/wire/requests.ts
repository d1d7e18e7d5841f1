import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../../checkpoint/json/json.ts';
import { toolCall } from '../../wire/chat-message.ts';
import { chatTemplateFields } from '../../wire/chat-template-fields.ts';
import { ignored } from '../../wire/ignored-fields.ts';

/** An option that is accepted as long as it changes nothing. */
function neutral(value: number) {
  const error = `is not supported here; expected ${value}, or no such option`;
  return z.literal(value, { error }).optional().describe(`Only ${value}.`);
}

/** Parameters of a generation. The engine checks their ranges. */
const options = z.strictObject({
  num_predict: z.int().optional().describe('Tokens to generate at most; 0 and less: all that fit.'),
  temperature: z.number().optional(),
  top_k: z.int().optional(),
  top_p: z.number().optional(),
  min_p: z.number().optional(),
  seed: z.int().optional(),
  stop: z.union([z.string(), z.array(z.string())]).optional(),
  repeat_penalty: z.number().optional(),
  repeat_last_n: z.int().optional().describe('With a repeat_penalty only -1: it looks at all tokens.'),
  presence_penalty: z.number().optional(),
  frequency_penalty: z.number().optional(),
  mirostat: neutral(0),
  tfs_z: neutral(1),
  typical_p: neutral(1),
  ...ignored('mirostat_tau', 'mirostat_eta', 'penalize_newline', 'num_keep', 'num_ctx', 'num_batch', 'num_gpu'),
  ...ignored('main_gpu', 'num_thread', 'numa', 'low_vram', 'f16_kv', 'logits_all', 'vocab_only', 'use_mmap'),
  ...ignored('use_mlock', 'embedding_only'),
});

/** Fields that requests for answers have in common. */
const answerFields = {
  model: z.string().optional().describe('A name of the model, also with :latest. Default: the one model.'),
  stream: z.boolean().optional().describe('Sends the answer while it is generated, an object a line. Default: true.'),
  format: z
    .custom<'json' | '' | JsonObject>((value) => value === '' || value === 'json' || isJsonObject(value), {
      error: "expected 'json' or a JSON Schema",
    })
    .optional()
    .meta({ description: "'json', or a JSON Schema.", anyOf: [{ type: 'string' }, { type: 'object' }] }),
  options: options.optional(),
  think: z
    .union([z.boolean(), z.string()])
    .optional()
    .describe("The template's enable_thinking; a text is its reasoning_effort, too."),
  logprobs: z.boolean().optional().describe("Gives every token's probability."),
  top_logprobs: z.int().optional().describe('With logprobs: this many of the likeliest tokens in place of each.'),
  keep_alive: z.unknown().optional().describe('Accepted and ignored: the model stays loaded.'),
} as const;

/** `POST /api/chat` */
export const ollamaChatRequest = z.strictObject({
  ...answerFields,
  messages: z
    .array(
      z.strictObject({
        role: z.string(),
        content: z.string().nullish(),
        thinking: z.string().optional(),
        tool_calls: z.array(toolCall.extend({ function: toolCall.shape.function.extend(ignored('index')) })).optional(),
        tool_name: z.string().optional().describe('Name of the function whose result the message is.'),
        tool_call_id: z.string().optional(),
      }),
    )
    .optional()
    .describe('Without messages, the answer says that the model is loaded.'),
  tools: chatTemplateFields.tools,
});

export type OllamaChatRequest = z.infer<typeof ollamaChatRequest>;

/** `POST /api/generate` */
export const ollamaGenerateRequest = z.strictObject({
  ...answerFields,
  prompt: z.string().optional().describe('A message of a user. Without one, the answer says that the model is loaded.'),
  system: z.string().optional(),
  raw: z.boolean().optional().describe('Continues the prompt as a text, without the chat template.'),
});

export type OllamaGenerateRequest = z.infer<typeof ollamaGenerateRequest>;

export type OllamaAnswerRequest = z.infer<z.ZodObject<typeof answerFields>>;

/** `POST /api/show` */
export const ollamaShowRequest = z.strictObject({
  model: z.string().optional(),
  name: z.string().optional().describe('Older name of model.'),
  ...ignored('verbose', 'system', 'options'),
});
