import { type Context, type Handler, Hono } from 'hono';
import { cors } from 'hono/cors';
import { DisposedError, ShutdownError } from '../errors.ts';
import { VERSION } from '../version.generated.ts';
import { type AppOptions, servedModel } from './app-options.ts';
import { openApiDocument } from './openapi.ts';
import { pageFolder, readPage } from './pages/page-files.ts';
import { playgroundFiles } from './pages/playground-files.ts';
import { requireApiKey } from './request/api-key.ts';
import type { ServerEnv } from './request/env.ts';
import { requestLog } from './request/request-log.ts';
import { ServerMetrics } from './request/server-metrics.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { completions } from './routes/completions.ts';
import { getModel, listModels } from './routes/models.ts';
import { pageFile } from './routes/page.ts';
import { playgroundFile } from './routes/playground.ts';
import { detokenize, tokenize } from './routes/tokenization.ts';
import { HttpError, toHttpError } from './wire/http-error.ts';

/** A path's handlers by method. */
type Methods = Readonly<Partial<Record<'GET' | 'POST', Handler<ServerEnv>>>>;

/**
 * The server as a Hono app, which can be mounted in another or served by whatever serves web requests. It does not own
 * the model: shut its engine down and dispose of it when the app is served no more.
 *
 * @throws ChatTemplateError when the chat template is not valid, ArgumentError when an API key is empty.
 *
 * @example
 * ```ts
 * const app = createApp({ llm, modelNames: ['tiny-dts'], apiKeys: ['secret'] });
 * const response = await app.request('/v1/models', { headers: { authorization: 'Bearer secret' } });
 * ```
 */
export function createApp(options: AppOptions): Hono<ServerEnv> {
  const { llm, apiKeys = [], corsOrigins = [], logger } = options;
  const model = servedModel(options);
  const metrics = new ServerMetrics(llm.engine, model.name);
  const app = new Hono<ServerEnv>();

  app.use(requestLog(logger, metrics));
  if (corsOrigins.length > 0)
    app.use(
      cors({
        origin: corsOrigins.includes('*') ? '*' : [...corsOrigins],
        exposeHeaders: ['x-request-id', 'retry-after'],
      }),
    );
  const keepsApart = new Set(apiKeys).size > 1 && !options.sharePrefixCache;
  for (const path of ['/v1/*', '/tokenize', '/detokenize']) app.use(path, requireApiKey(apiKeys, keepsApart));

  const document = JSON.stringify(openApiDocument(VERSION));
  const routes: Readonly<Record<string, Methods>> = {
    '/v1/models': { GET: listModels(model) },
    '/v1/models/:model{.+}': { GET: getModel(model) },
    '/v1/completions': { POST: completions(model) },
    '/v1/chat/completions': { POST: chatCompletions(model) },
    '/tokenize': { POST: tokenize(model) },
    '/detokenize': { POST: detokenize(model) },
    '/health': { GET: (c) => health(c, llm.engine.closed, metrics.failure) },
    '/version': { GET: (c) => c.json({ version: VERSION }) },
    '/metrics': { GET: async (c) => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType }) },
    '/openapi.json': { GET: (c) => c.body(document, 200, { 'content-type': 'application/json' }) },
  };
  for (const [path, methods] of Object.entries(routes)) register(app, path, methods);
  if (options.page ?? true) {
    for (const [path, file] of readPage(pageFolder())) register(app, path, { GET: pageFile(file) });
    // The page's URLs are relative to its folder.
    register(app, '/playground', { GET: (c) => c.redirect('playground/') });
    register(app, '/playground/:path{.*}', { GET: playgroundFile(playgroundFiles()) });
  }

  app.notFound((c) => {
    const message = `There is nothing at ${c.req.method} ${c.req.path}.`;
    return errorResponse(c, new HttpError(404, message, { code: 'not_found' }));
  });
  app.onError((error, c) => errorResponse(c, error));
  return app;
}

function register(app: Hono<ServerEnv>, path: string, methods: Methods): void {
  for (const [method, handler] of Object.entries(methods)) app.on(method, path, handler);
  const allow = Object.keys(methods)
    .flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    .join(', ');
  app.all(path, (c) => {
    throw new HttpError(405, `${c.req.method} is not for ${path}; use ${allow}.`, {
      code: 'method_not_allowed',
      headers: { allow },
    });
  });
}

/** What failed, and where, is for the log. */
function health(c: Context, closed: Error | undefined, failure: Error | undefined): Response {
  const unavailable = (reason: string) => c.json({ status: 'unavailable', reason }, 503);
  if (closed instanceof ShutdownError || closed instanceof DisposedError) {
    return unavailable('The server is shutting down.');
  }
  if (closed) return unavailable('The model failed and is not loaded again; the log says why.');
  return failure ? unavailable('The model failed and is being loaded again.') : c.json({ status: 'ok' });
}

function errorResponse(c: Context<ServerEnv>, error: unknown): Response {
  const failure = toHttpError(error);
  c.get('record').add({ error: failure });
  // 499 is the log's: a client that has gone reads none.
  return c.body(JSON.stringify(failure), failure.status as 400, {
    ...failure.headers,
    'content-type': 'application/json',
  });
}
