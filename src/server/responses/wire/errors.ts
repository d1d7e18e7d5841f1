import { type ErrorForm, OPENAI_ERRORS } from '../../wire/error-form.ts';

/** OpenAI's form, with the names that fields have here. */
export const RESPONSE_ERRORS: ErrorForm = {
  ...OPENAI_ERRORS,
  fieldNames: new Map([
    ['messages', 'input'],
    ['max_tokens', 'max_output_tokens'],
    ['logprobs', 'top_logprobs'],
    ['structured_outputs', 'text.format'],
  ]),
};
