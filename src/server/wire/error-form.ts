import type { HttpError } from './http-error.ts';

/** How one API writes errors. */
export interface ErrorForm {
  /** Name of the form in the OpenAPI document. */
  readonly name: string;
  /** JSON Schema of the body. */
  readonly schema: object;
  /** Status for the client, where it is not the error's own. */
  status?(error: HttpError): number;
  body(error: HttpError, requestId: string): object;
  /** Header that clients of the API read a request's id from, besides `x-request-id`. */
  readonly requestIdHeader?: string;
  /** The API's names of the engine's parameters, as far as they differ. */
  readonly fieldNames?: ReadonlyMap<string, string>;
}

const nullableText = { type: ['string', 'null'] };

/** OpenAI's. */
export const OPENAI_ERRORS: ErrorForm = {
  name: 'Error',
  schema: objectSchema({
    error: objectSchema({
      message: { type: 'string' },
      type: { type: 'string' },
      param: nullableText,
      code: nullableText,
    }),
  }),
  body: (error) => error.toJSON(),
};

/** Schema of an object that has these members. */
export function objectSchema(properties: Readonly<Record<string, object>>): object {
  return { type: 'object', required: Object.keys(properties), properties };
}
