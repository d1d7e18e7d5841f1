import { type ErrorForm, objectSchema } from '../../wire/error-form.ts';
import type { HttpError } from '../../wire/http-error.ts';

/** An error as Anthropic's API writes it, in answers and as the last event of a stream. */
export interface AnthropicErrorBody {
  readonly type: 'error';
  readonly error: {
    readonly type: string;
    readonly message: string;
    readonly details?: { readonly error_code: string };
  };
}

export function anthropicError({ status, message, code }: HttpError): AnthropicErrorBody {
  const details = code === undefined ? {} : { details: { error_code: code } };
  return { type: 'error', error: { type: typeOf(status), message, ...details } };
}

/** Anthropic's. */
export const ANTHROPIC_ERRORS: ErrorForm = {
  name: 'AnthropicError',
  schema: objectSchema({
    type: { const: 'error' },
    error: objectSchema({ type: { type: 'string' }, message: { type: 'string' } }),
    request_id: { type: 'string' },
  }),
  status: ({ status }) => (status === 503 ? 529 : status),
  body: (error, requestId) => ({ ...anthropicError(error), request_id: requestId }),
  requestIdHeader: 'request-id',
  fieldNames: new Map([
    ['stop', 'stop_sequences'],
    ['thinking_token_budget', 'thinking.budget_tokens'],
    ['structured_outputs', 'output_config.format'],
  ]),
};

const TYPES: ReadonlyMap<number, string> = new Map([
  [401, 'authentication_error'],
  [404, 'not_found_error'],
  [413, 'request_too_large'],
  [429, 'rate_limit_error'],
  [500, 'api_error'],
  [503, 'overloaded_error'],
]);

function typeOf(status: number): string {
  return TYPES.get(status) ?? 'invalid_request_error';
}
