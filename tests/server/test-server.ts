import OpenAI from 'openai';
import { afterAll } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import type { LoadOptions } from '../../src/engine/load/load-options.ts';
import type { AppOptions } from '../../src/server/app-options.ts';
import { serve } from '../../src/server/node-server.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';

/** A template as small models have it. */
export const CHAT_TEMPLATE =
  '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}';

export interface TestServer {
  readonly llm: LLM;
  readonly url: string;
  readonly client: OpenAI;
  /** Sends JSON, or a body as it is. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  get(path: string, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
}

/** The bundled model behind a server on a free port. The caller closes it. */
export async function startServer(
  app: Partial<AppOptions> = {},
  engine: LoadOptions = {},
  folder: string = TINY_DTS,
): Promise<TestServer> {
  const llm = await LLM.load(folder, { maxNumSeqs: 8, ...engine });
  const { url, server, shutdown } = await serve({ llm, port: 0, modelNames: ['tiny-dts'], ...app });
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: app.apiKeys?.[0] ?? 'none', maxRetries: 0 });
  return {
    llm,
    url,
    client,
    post: (path, body, init = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
        headers: { 'content-type': 'application/json', ...init.headers },
      }),
    get: (path, init) => fetch(`${url}${path}`, init),
    close: async () => {
      const now = AbortSignal.abort();
      await shutdown(now);
      server.closeAllConnections();
      await llm.dispose();
    },
  };
}

/** One for all tests of a file. */
export async function sharedServer(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...args);
  afterAll(() => server.close());
  return server;
}

/** The objects of a stream of events, and whether it ended with [DONE]. */
export async function readEvents(response: Response): Promise<{ events: Record<string, unknown>[]; done: boolean }> {
  const data = (await response.text())
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => event.replace(/^data: /, ''));
  const done = data.at(-1) === '[DONE]';
  return { events: data.filter((each) => each !== '[DONE]').map((each) => JSON.parse(each)), done };
}
