import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { routePath } from 'hono/route';
import type { Logger } from 'pino';
import type { ServerEnv } from './env.ts';
import { RequestRecord } from './request-record.ts';
import type { ServerMetrics } from './server-metrics.ts';

/** Middleware that gives each request an id, and logs a line when its answer has ended: never prompts or answers. */
export function requestLog(logger: Logger | undefined, metrics: ServerMetrics): MiddlewareHandler<ServerEnv> {
  return async (c, next) => {
    let sent = 0;
    const record = new RequestRecord(requestId(c.req.header('x-request-id')), ({ facts, id, milliseconds }) => {
      const { usage, finishReason, stream, error } = facts;
      const { method, path } = c.req;
      // A stream's error comes after its status.
      const status = error && sent < 400 ? error.status : sent;
      logger?.[status >= 500 ? 'error' : 'info'](
        {
          requestId: id,
          method,
          path,
          status,
          milliseconds: Math.round(milliseconds),
          ...(stream && { stream }),
          ...(usage && {
            promptTokens: usage.prompt_tokens,
            cachedTokens: usage.prompt_tokens_details.cached_tokens,
            completionTokens: usage.completion_tokens,
          }),
          ...(finishReason && { finishReason }),
          ...(error && { code: error.code }),
          // The answer explains a client's mistake; for an error of the server the log needs the stack.
          ...(error && status >= 500 && { err: error.cause ?? error }),
        },
        'request',
      );
    });
    c.set('record', record);
    await next();
    // Streamed answers do not take over headers that were set before.
    c.res.headers.set('x-request-id', record.id);
    sent = c.res.status;
    metrics.httpRequest(c.req.method, routePath(c, -1), sent);
    record.handled();
  };
}

/** Id that the client sent, if its characters are safe in logs and headers. */
function requestId(given: string | undefined): string {
  return given !== undefined && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
}
