import type { Context } from 'hono';
import type { AsyncLLMEngine } from '../../engine/async-llm-engine.ts';
import { DisposedError, ShutdownError } from '../../errors.ts';
import type { ServerMetrics } from '../request/server-metrics.ts';

/** `GET /health`. The answer leaves the failure's details to the log. */
export function health(engine: AsyncLLMEngine, metrics: ServerMetrics) {
  return (c: Context): Response => {
    const unavailable = (reason: string) => c.json({ status: 'unavailable', reason }, 503);
    const { closed } = engine;
    if (closed instanceof ShutdownError || closed instanceof DisposedError) {
      return unavailable('The server is shutting down.');
    }
    if (closed) return unavailable('The model failed and is not loaded again; the log says why.');
    return metrics.failure ? unavailable('The model failed and is being loaded again.') : c.json({ status: 'ok' });
  };
}
