import type { RequestRecord } from './request-record.ts';

/** What handlers find in Hono's context. */
export interface ServerEnv {
  readonly Variables: {
    readonly record: RequestRecord;
    /** A digest of the request's API key, where keys are kept apart. */
    readonly tenant?: string;
  };
}
