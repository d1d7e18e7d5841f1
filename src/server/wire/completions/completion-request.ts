import { z } from 'zod';
import { promptField } from '../prompt-field.ts';
import { ignoredFields, promptFields, samplingFields, streamFields } from '../sampling-fields.ts';
import { structuredFields } from '../structured-fields.ts';

/** `POST /v1/completions` */
export const completionRequest = z.strictObject({
  model: z.string().optional().describe('A name that /v1/models lists. Default: the one model.'),
  prompt: promptField,
  max_tokens: z
    .int()
    .optional()
    .describe('Tokens to generate at most; 0 with echo looks at the prompt only. Default: 16.'),
  echo: z.boolean().optional().describe('Begins the answer with the prompt.'),
  logprobs: z
    .int()
    .optional()
    .describe('Gives the log probability of each token, and this many of the likeliest in its place, up to 20.'),
  add_special_tokens: z.boolean().optional().describe('Adds what the model expects around a text. Default: true.'),
  ...samplingFields,
  ...structuredFields,
  ...promptFields,
  ...streamFields,
  ...ignoredFields,
});

export type CompletionRequest = z.infer<typeof completionRequest>;
