import type { RequestRecord } from './request-record.ts';

/** What handlers find in Hono's context. */
export interface ServerEnv {
  readonly Variables: { readonly record: RequestRecord };
}
