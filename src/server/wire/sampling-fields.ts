import { z } from 'zod';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import { ignored } from './ignored-fields.ts';
import { seedField } from './seed-field.ts';
import { type structuredFields, toStructuredOutputs } from './structured-fields.ts';

/** Fields that say how tokens are chosen, under the names of OpenAI and vLLM. The engine checks their ranges. */
export const samplingFields = {
  n: z.int().optional().describe('Answers to each prompt. Default: 1.'),
  temperature: z.number().optional().describe('0 takes the likeliest token. Default: the model’s, else 1.'),
  top_p: z.number().optional().describe('Keeps the likeliest tokens that together have this probability.'),
  top_k: z.int().optional().describe('Keeps this many of the likeliest tokens; 0 and -1 keep all.'),
  min_p: z.number().optional().describe("Least probability of a token, relative to the likeliest one's."),
  repetition_penalty: z
    .number()
    .optional()
    .describe('Above 1, tokens of the prompt and the answer become less likely.'),
  presence_penalty: z.number().optional().describe('From -2 to 2: above 0, tokens of the answer become less likely.'),
  frequency_penalty: z.number().optional().describe('From -2 to 2: the same, with each time they occur.'),
  logit_bias: z
    .record(z.string(), z.number())
    .optional()
    .describe('Token id → number to add to its logit, from -100 to 100.'),
  seed: seedField.optional(),
  stop: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .describe('Ends the answer before any of these.'),
  include_stop_str_in_output: z.boolean().optional().describe('Keeps the stop string in the answer.'),
  stop_token_ids: z.array(z.int()).optional().describe("Tokens that end the answer, besides the model's own."),
  ignore_eos: z.boolean().optional().describe("Continues after the model's end of text."),
  min_tokens: z.int().optional().describe('Before this many tokens nothing ends the answer.'),
  allowed_token_ids: z
    .array(z.int())
    .optional()
    .describe('The only tokens that the answer may have. It ends before max_tokens only if these can end it.'),
  bad_words: z.array(z.string()).optional().describe('Texts that the answer must not contain.'),
  logprobs_mode: z
    .enum(['raw_logprobs', 'processed_logprobs'])
    .optional()
    .describe(
      'Whether logprobs are the model’s own, or those of the tokens that may be chosen. Default: raw_logprobs.',
    ),
  skip_special_tokens: z.boolean().optional().describe('Leaves special tokens out of the text. Default: true.'),
  priority: z
    .int()
    .optional()
    .describe('Of waiting requests the lowest goes first; for servers with --scheduling-policy priority. Default: 0.'),
  cache_salt: z
    .string()
    .min(1)
    .optional()
    .describe('Prompts reuse only states of requests with the same salt, so that other clients can not guess them.'),
  num_speculative_tokens: z
    .int()
    .optional()
    .describe(
      'Tokens to guess at once, at most, on a server with --speculative-config; 0: none. Guesses change no text.',
    ),
  half_life_interval: z
    .int()
    .optional()
    .describe(
      "With an answer's first token, and every this many tokens, gives `half_lives`: per layer and head, after how many tokens like those just read half of the model's state would be gone; null where nothing is lost.",
    ),
} as const;

/** Fields of vLLM about prompts. */
export const promptFields = {
  prompt_logprobs: z
    .int()
    .optional()
    .describe(
      "Gives each prompt token's probability and rank, and this many of the likeliest in its place, up to 20. Not with stream.",
    ),
  truncate_prompt_tokens: z
    .int()
    .optional()
    .describe("Keeps this many of the prompt's last tokens; -1: as many as fit with max_tokens. Default: all."),
} as const;

/** Fields that say how an answer is sent. */
export const streamFields = {
  stream: z.boolean().optional().describe('Sends the answer as server-sent events while it is generated.'),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().optional().describe('Ends with an event that counts the tokens.'),
      continuous_usage_stats: z.boolean().optional().describe('Counts the tokens in every event.'),
      include_obfuscation: z.boolean().optional().describe('Accepted and ignored.'),
    })
    .optional(),
  return_token_ids: z.boolean().optional().describe('Also gives the token ids of prompts and answers.'),
} as const;

/** Fields that clients send, and that change nothing here. */
export const ignoredFields = ignored(
  'user',
  'metadata',
  'store',
  'service_tier',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'parallel_tool_calls',
  'reasoning_effort',
  'verbosity',
);

type SamplingBody = z.infer<z.ZodObject<typeof samplingFields & typeof structuredFields>>;

/** The fields as options of the engine. */
export function toGenerateOptions(body: SamplingBody): GenerateOptions {
  return {
    n: body.n,
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k,
    minP: body.min_p,
    repetitionPenalty: body.repetition_penalty,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias: body.logit_bias,
    seed: body.seed,
    stop: body.stop,
    includeStopStrInOutput: body.include_stop_str_in_output,
    stopTokenIds: body.stop_token_ids,
    ignoreEos: body.ignore_eos,
    minTokens: body.min_tokens,
    allowedTokenIds: body.allowed_token_ids,
    badWords: body.bad_words,
    logprobsMode: body.logprobs_mode,
    structuredOutputs: toStructuredOutputs(body),
    skipSpecialTokens: body.skip_special_tokens,
    priority: body.priority,
    cacheSalt: body.cache_salt,
    numSpeculativeTokens: body.num_speculative_tokens,
    halfLifeInterval: body.half_life_interval,
  };
}
