import { ANTHROPIC_ERRORS } from '../anthropic/wire/errors.ts';
import { OLLAMA_ERRORS } from '../ollama/wire/errors.ts';
import { RESPONSE_ERRORS } from '../responses/wire/errors.ts';
import type { ErrorForm } from '../wire/error-form.ts';

/** Paths whose errors have another form than OpenAI's, or other names of fields; '*' stands for the path itself and every path below. */
export const ERROR_FORMS: readonly (readonly [path: string, form: ErrorForm])[] = [
  ['/v1/messages/*', ANTHROPIC_ERRORS],
  ['/api/*', OLLAMA_ERRORS],
  ['/v1/responses/*', RESPONSE_ERRORS],
];
