import { type ErrorStatus, HttpError } from '../wire/http-error.ts';
import { type Body, type BodyForm, type BodyLimits, parseBody } from './json-body.ts';

/** A body to be parsed and checked on another thread. */
export interface BodyJob {
  readonly form: BodyForm;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly limits: BodyLimits;
}

/** The body, or the fields of the error that refuses it: an error itself would lose them between threads. */
export type BodyResult =
  | { readonly body: Body<BodyForm> }
  | {
      readonly refusal: {
        readonly status: ErrorStatus;
        readonly message: string;
        readonly param: string | undefined;
        readonly code: string | undefined;
      };
    };

export function runBodyJob({ form, bytes, limits }: BodyJob): BodyResult {
  try {
    return { body: parseBody(form, bytes, limits) };
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    const { status, message, param, code } = error;
    return { refusal: { status, message, param, code } };
  }
}
