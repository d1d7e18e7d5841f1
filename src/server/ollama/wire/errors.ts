import { type ErrorForm, objectSchema } from '../../wire/error-form.ts';
import type { HttpError } from '../../wire/http-error.ts';

/** An error as Ollama writes it, in answers and as the last line of a stream. */
export function ollamaError({ message }: HttpError): { readonly error: string } {
  return { error: message };
}

/** Parameters that requests have among their options. */
const OPTIONS = ['temperature', 'top_p', 'top_k', 'min_p', 'presence_penalty', 'frequency_penalty', 'seed', 'stop'];

/** Ollama's. */
export const OLLAMA_ERRORS: ErrorForm = {
  name: 'OllamaError',
  schema: objectSchema({ error: { type: 'string' } }),
  body: ollamaError,
  fieldNames: new Map([
    ...OPTIONS.map((name) => [name, `options.${name}`] as const),
    ['repetition_penalty', 'options.repeat_penalty'],
    ['max_tokens', 'options.num_predict'],
    ['logprobs', 'top_logprobs'],
    ['structured_outputs', 'format'],
  ]),
};
