import { createServer, IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { ArgumentError, ListenError } from '../errors.ts';
import { createApp } from './app.ts';
import type { AppOptions } from './app-options.ts';
import { Connections } from './connections.ts';

/** Address of an app. */
export interface ServeOptions extends AppOptions {
  /** Port; 0 takes a free one. Default: 8000. */
  readonly port?: number | undefined;
  /** Host name or address. Default: 127.0.0.1, which only this machine reaches. */
  readonly host?: string | undefined;
}

/** A server that is listening. */
export interface RunningServer {
  /** URL of the server, such as http://127.0.0.1:8000 */
  readonly url: string;
  readonly server: Server;
  /**
   * Ends in order: accepted requests are finished, new ones are answered with 503, and after the last answer the port
   * is closed. Connections without a request do not delay that. The model stays loaded. A second call waits for the
   * same end.
   * @param signal ends the waiting, whichever call it was given to: unfinished answers are then broken off.
   */
  shutdown(signal?: AbortSignal): Promise<void>;
}

/**
 * Serves a model on Node. Rejects with ListenError when the address is taken or not allowed, with ArgumentError when
 * the host is empty; see `createApp` for other errors.
 *
 * @example
 * ```ts
 * const server = await serve({ llm, port: 8000 });
 * process.once('SIGTERM', () => server.shutdown(AbortSignal.timeout(30_000)));
 * ```
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { llm, logger, port = 8000, host = '127.0.0.1' } = options;
  // Node would listen on every interface.
  if (host.trim() === '') {
    throw new ArgumentError('host is empty.', "Leave it out, or say '0.0.0.0' for every interface.");
  }
  const app = createApp(options);
  const listener = getRequestListener(
    (request, { incoming }) => app.fetch(request, incoming instanceof IncomingMessage ? { source: incoming } : {}),
    // Health checks of proxies speak HTTP/1.0, in which a request may come without a host.
    { overrideGlobalObjects: false, hostname: 'localhost' },
  );
  const server = createServer();
  const connections = new Connections(server, STALL_MILLISECONDS);
  server.on('request', (incoming, outgoing) => {
    connections.add(incoming, outgoing, () => void listener(incoming, outgoing));
  });
  await listen(server, port, host);
  llm.texts.warmUp();
  llm.tokenizer?.warmUp();
  let ended: Promise<void> | undefined;
  const cutting = new AbortController();
  return { url: urlOf(server), server, shutdown };

  async function shutdown(signal?: AbortSignal): Promise<void> {
    const cut = () => cutting.abort();
    if (signal?.aborted) cut();
    signal?.addEventListener('abort', cut, { once: true });
    ended ??= end(cutting.signal);
    await ended.finally(() => signal?.removeEventListener('abort', cut));
  }

  async function end(signal: AbortSignal): Promise<void> {
    logger?.info({ requests: llm.engine.stats().runningRequests }, 'shutting down');
    connections.refuseFurther();
    await llm.engine.shutdown({ signal });
    await closed(server, connections, signal);
  }
}

/** @throws ListenError */
async function listen(server: Server, port: number, host: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new ListenError(`The server can't listen: ${problem}.`, 'Give another host or port.', { cause });
  }
}

/**
 * Time in which a client must read some of its answer. Proxies that buffer, and pages in the background of a browser,
 * still read all of it.
 */
const STALL_MILLISECONDS = 120_000;

/** Time for clients to read why an answer was broken off, and to finish requests that they are sending. */
const GRACE_MILLISECONDS = 1000;

/** Waits for the last answers; after the signal, only as long as the errors in their place take. */
async function closed(server: Server, connections: Connections, signal: AbortSignal): Promise<void> {
  const timers: NodeJS.Timeout[] = [];
  const cut = () => {
    timers.push(setTimeout(() => server.closeAllConnections(), GRACE_MILLISECONDS));
  };
  const done = new Promise<void>((resolve) => server.close(() => resolve()));
  connections.closeIdle();
  timers.push(setTimeout(() => connections.closeUnfinishedRequests(), GRACE_MILLISECONDS));
  if (signal.aborted) cut();
  signal.addEventListener('abort', cut, { once: true });
  await done;
  for (const timer of timers) clearTimeout(timer);
  signal.removeEventListener('abort', cut);
}

function urlOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  const reachable = address === '0.0.0.0' || address === '::' ? 'localhost' : address;
  return `http://${family === 'IPv6' && reachable !== 'localhost' ? `[${reachable}]` : reachable}:${port}`;
}
