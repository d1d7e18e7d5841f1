import type { HttpError } from './http-error.ts';

/** How one API writes errors. */
export interface ErrorForm {
  /** Status for the client, where it is not the error's own. */
  status?(error: HttpError): number;
  body(error: HttpError, requestId: string): object;
  /** Header that clients of the API read a request's id from, besides `x-request-id`. */
  readonly requestIdHeader?: string;
  /** The API's names of the engine's parameters, as far as they differ. */
  readonly fieldNames?: ReadonlyMap<string, string>;
}

/** OpenAI's. */
export const OPENAI_ERRORS: ErrorForm = { body: (error) => error.toJSON() };
