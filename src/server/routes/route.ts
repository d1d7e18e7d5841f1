import type { Handler } from 'hono';
import type { ServerEnv } from '../request/env.ts';
import type { BodyForm } from '../request/json-body.ts';

/** A method of a path: the app serves it, and /openapi.json describes it. */
export interface Route {
  readonly method: 'GET' | 'POST';
  /** Path in Hono's form. */
  readonly path: string;
  readonly summary: string;
  /** Form of the body, whose schema checks and describes it. */
  readonly body?: BodyForm;
  /** Media types of the answer. */
  readonly answers: readonly string[];
  readonly handler: Handler<ServerEnv>;
}

/** Paths that need an API key if the server has some; '*' stands for every path below. */
export const GUARDED_PATHS: readonly string[] = ['/v1/*', '/api/*', '/tokenize', '/detokenize'];

/** Whether a path needs an API key. */
export function isGuarded(path: string): boolean {
  return GUARDED_PATHS.some((guarded) => isBelow(path, guarded));
}

/** Whether a path is that of a pattern, which may end with '*'. */
export function isBelow(path: string, pattern: string): boolean {
  return pattern.endsWith('/*') ? `${path}/`.startsWith(pattern.slice(0, -1)) : path === pattern;
}
