import { randomUUID } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { routePath } from 'hono/route';
import type { Logger } from 'pino';
import type { ServerEnv } from './env.ts';
import { RequestRecord } from './request-record.ts';
import type { ServerMetrics } from './server-metrics.ts';

/** Gives each request an id and a line in the log when its answer has ended. Neither prompts nor answers are logged. */
export function requestLog(logger: Logger | undefined, metrics: ServerMetrics): MiddlewareHandler<ServerEnv> {
  return async (c, next) => {
    let sent = 0;
    const record = new RequestRecord(requestId(c.req.header('x-request-id')), ({ facts, id, milliseconds }) => {
      const { usage, finishReason, stream, error } = facts;
      const { method, path } = c.req;
      const status = error?.status ?? sent;
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
          // The sender's mistakes are said in the answer; the server's own want their stack.
          ...(error && status >= 500 && { err: error.cause ?? error }),
        },
        'request',
      );
    });
    c.set('record', record);
    await next();
    // Answers that are streamed do not take headers that were set before.
    c.res.headers.set('x-request-id', record.id);
    sent = c.res.status;
    metrics.httpRequest(c.req.method, routePath(c, -1), sent);
    record.handled();
  };
}

/** The client's own, where it is one that may stand in logs and headers. */
function requestId(given: string | undefined): string {
  return given !== undefined && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
}
