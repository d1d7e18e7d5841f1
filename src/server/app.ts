import { type Context, type Handler, Hono } from 'hono';
import { cors } from 'hono/cors';
import { type AppOptions, servedModel } from './app-options.ts';
import { pageFolder, readPage } from './pages/page-files.ts';
import { playgroundFiles } from './pages/playground-files.ts';
import { requireApiKey } from './request/api-key.ts';
import type { ServerEnv } from './request/env.ts';
import { requestLog } from './request/request-log.ts';
import { ServerMetrics } from './request/server-metrics.ts';
import { ABSENT_PATHS, absent } from './routes/absent.ts';
import { apiRoutes } from './routes/api-routes.ts';
import { ERROR_FORMS } from './routes/error-forms.ts';
import { pageFile } from './routes/page.ts';
import { playgroundFile } from './routes/playground.ts';
import { GUARDED_PATHS } from './routes/route.ts';
import { OPENAI_ERRORS } from './wire/error-form.ts';
import { HttpError, toHttpError } from './wire/http-error.ts';

/** A path's handlers by method. */
type Methods = Readonly<Partial<Record<'GET' | 'POST', Handler<ServerEnv>>>>;

/**
 * The server as a Hono app, which can be mounted in another app, or served by anything that takes web requests. The app
 * does not own the model: when it is no longer served, shut the engine down and dispose of the model.
 *
 * @throws ChatTemplateError when the chat template is not valid, ArgumentError when an API key is empty or metrics can't have
 * the prefix.
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
  const metrics = new ServerMetrics(llm.engine, model.name, options.metricsPrefix);
  const app = new Hono<ServerEnv>();

  app.use(requestLog(logger, metrics));
  if (corsOrigins.length > 0)
    app.use(
      cors({
        origin: corsOrigins.includes('*') ? '*' : [...corsOrigins],
        exposeHeaders: ['x-request-id', 'request-id', 'retry-after'],
      }),
    );
  for (const [path, form] of ERROR_FORMS) {
    app.use(path, async (c, next) => {
      c.set('errorForm', form);
      await next();
      if (form.requestIdHeader) c.res.headers.set(form.requestIdHeader, c.get('record').id);
    });
  }
  const keepsApart = new Set(apiKeys).size > 1 && !options.sharePrefixCache;
  for (const path of GUARDED_PATHS) app.use(path, requireApiKey(apiKeys, keepsApart));

  for (const { path, method, handler } of apiRoutes(model, metrics)) register(app, path, { [method]: handler });
  for (const [path, message] of ABSENT_PATHS) app.all(path, absent(message));
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

function errorResponse(c: Context<ServerEnv>, error: unknown): Response {
  const form = c.get('errorForm') ?? OPENAI_ERRORS;
  const failure = toHttpError(error, form.fieldNames);
  const record = c.get('record');
  record.add({ error: failure });
  const status = form.status?.(failure) ?? failure.status;
  // Status 499 is for the log only: the client has gone and reads no answer.
  return c.body(JSON.stringify(form.body(failure, record.id)), status as 400, {
    ...failure.headers,
    'content-type': 'application/json',
  });
}
