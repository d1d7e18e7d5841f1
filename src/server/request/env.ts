import type { IncomingMessage } from 'node:http';
import type { RequestRecord } from './request-record.ts';

/** Variables that handlers find in Hono's context. */
export interface ServerEnv {
  readonly Bindings: {
    /**
     * What a body can be read from: where nothing stands between the app and Node's server, which might have changed
     * it.
     */
    readonly source?: IncomingMessage;
  };
  readonly Variables: {
    readonly record: RequestRecord;
    /** A digest of the request's API key, where keys are kept apart. */
    readonly tenant?: string;
  };
}
