import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { ArgumentError } from '../errors.ts';
import { createApp } from './app.ts';
import type { AppOptions } from './app-options.ts';

/** Where an app is served. */
export interface ServeOptions extends AppOptions {
  /** 0 takes a free one. Default: 8000. */
  readonly port?: number | undefined;
  /** Default: 127.0.0.1, which only this machine reaches. */
  readonly host?: string | undefined;
}

/** A server that is listening. */
export interface RunningServer {
  /** Such as http://127.0.0.1:8000 */
  readonly url: string;
  readonly server: Server;
  /**
   * Ends in order: what was accepted is finished, what comes is answered with 503, and when all answers have gone out
   * the port is closed. The model stays loaded.
   * @param signal ends the waiting: what is unfinished by then is cut.
   */
  shutdown(signal?: AbortSignal): Promise<void>;
}

/**
 * Serves a model on Node. Rejects with Node's own error where host and port can't be had, with ArgumentError where the
 * host is empty; see `createApp` for other errors.
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { llm, port = 8000, host = '127.0.0.1' } = options;
  // Node would take it for every interface.
  if (host.trim() === '')
    throw new ArgumentError('host is empty.', "Leave it out, or say '0.0.0.0' for every interface.");
  const app = createApp(options);
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return { url: urlOf(server), server, shutdown: (signal) => shutdown(server, options, signal) };

  async function shutdown(server: Server, { logger }: ServeOptions, signal?: AbortSignal): Promise<void> {
    logger?.info({ requests: llm.engine.stats().runningRequests }, 'shutting down');
    await llm.engine.shutdown({ signal });
    await closed(server, signal);
  }
}

/** For those whose answer was broken off to read why. */
const GRACE_MILLISECONDS = 1000;

/** Waits until the last answers have gone out; where the time is up, no longer than the errors need. */
async function closed(server: Server, signal: AbortSignal | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const cut = () => {
    timer = setTimeout(() => server.closeAllConnections(), GRACE_MILLISECONDS);
  };
  const done = new Promise<void>((resolve) => server.close(() => resolve()));
  if (signal?.aborted) cut();
  signal?.addEventListener('abort', cut, { once: true });
  await done;
  clearTimeout(timer);
  signal?.removeEventListener('abort', cut);
}

function urlOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  const reachable = address === '0.0.0.0' || address === '::' ? 'localhost' : address;
  return `http://${family === 'IPv6' && reachable !== 'localhost' ? `[${reachable}]` : reachable}:${port}`;
}
