import { ANTHROPIC_ERRORS } from '../anthropic/wire/errors.ts';
import { OLLAMA_ERRORS } from '../ollama/wire/errors.ts';
import { RESPONSE_ERRORS } from '../responses/wire/errors.ts';
import { type ErrorForm, OPENAI_ERRORS } from '../wire/error-form.ts';
import { isBelow } from './route.ts';

/**
 * Paths whose errors have another form than OpenAI's, or other names of fields. A path that ends with '*' stands for
 * every path below, and for the one without the '/'.
 */
export const ERROR_FORMS: readonly (readonly [path: string, form: ErrorForm])[] = [
  ['/v1/messages/*', ANTHROPIC_ERRORS],
  ['/api/*', OLLAMA_ERRORS],
  ['/v1/responses/*', RESPONSE_ERRORS],
];

/** How a path's errors are written. */
export function errorFormOf(path: string): ErrorForm {
  return ERROR_FORMS.find(([pattern]) => isBelow(path, pattern))?.[1] ?? OPENAI_ERRORS;
}
