import type { IncomingMessage } from 'node:http';
import type { ErrorForm } from '../wire/error-form.ts';
import type { RequestRecord } from './request-record.ts';

/** Variables that handlers find in Hono's context. */
export interface ServerEnv {
  readonly Bindings: {
    /**
     * Node's request, to read the body from. Absent where the app runs inside another app, which may have changed the
     * body.
     */
    readonly source?: IncomingMessage;
  };
  readonly Variables: {
    readonly record: RequestRecord;
    /** How errors are written on this path. Absent: in OpenAI's form. */
    readonly errorForm?: ErrorForm;
    /** A digest of the request's API key, where keys are kept apart. */
    readonly tenant?: string;
  };
}
