import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript',
  mjs: 'text/javascript',
  json: 'application/json',
  wasm: 'application/wasm',
};

/** What a server answers with, in place of a file. */
export interface Page {
  readonly content: string | Uint8Array;
  readonly contentType?: string;
}

/** What lies under a path. */
interface Found {
  readonly size: number;
  readonly contentType: string;
  readonly etag: string;
  readonly lastModified?: string;
  read(begin: number, end: number): Promise<Uint8Array>;
}

export interface StaticServerOptions {
  /** URL prefix, such as '/models/' → folder. */
  readonly folders?: Readonly<Record<string, string>>;
  /** Whole paths → what is there. They win over folders. */
  readonly pages?: ReadonlyMap<string, Page> | undefined;
  /** Sent with everything. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether ranges are given. True when absent. */
  readonly ranges?: boolean;
  /** Whether answers say ETag and Last-Modified. True when absent. */
  readonly validators?: boolean;
  /** What is sent for unknown paths, with status 200, as servers of applications do. */
  readonly fallback?: Page | undefined;
  /** Bytes per piece of a body; between two the server waits a little. When absent it does not wait. */
  readonly pieceBytes?: number;
}

/** Cross-origin isolation, which shared memory in browsers needs. */
export const ISOLATION = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'cross-origin',
};

/** A request as it came in. */
export interface ReceivedRequest {
  readonly method: string | undefined;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** A static host on 127.0.0.1. */
export class StaticServer {
  readonly requests: ReceivedRequest[] = [];
  /** Statuses to answer with in place of the right answer, by path, consumed one per request. */
  readonly faults = new Map<string, number[]>();
  /** Cut the connection after so many bytes of a body; consumed by one request. */
  readonly drops = new Map<string, number>();
  readonly #options: StaticServerOptions;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });

  private constructor(options: StaticServerOptions) {
    this.#options = options;
  }

  static async start(options: StaticServerOptions): Promise<StaticServer> {
    const server = new StaticServer(options);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://host').pathname);
    const { range, authorization } = request.headers;
    this.requests.push({ method: request.method, path, range, authorization });
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) response.setHeader(name, value);
    const fault = this.faults.get(path)?.shift();
    const found = fault === undefined ? await this.#find(path) : undefined;
    if (found === undefined) {
      response.writeHead(fault ?? 404, { 'content-type': 'text/plain' }).end('no');
      return;
    }
    response.setHeader('content-type', found.contentType);
    if (this.#options.validators !== false) {
      response.setHeader('etag', found.etag);
      if (found.lastModified !== undefined) response.setHeader('last-modified', found.lastModified);
    }
    const asked = this.#options.ranges === false ? undefined : /^bytes=(\d+)-(\d+)$/.exec(range ?? '');
    if (!asked) {
      response.writeHead(200, { 'content-length': found.size });
      return this.#send(path, response, found, 0, found.size);
    }
    const begin = Number(asked[1]);
    const end = Math.min(Number(asked[2]) + 1, found.size);
    if (begin >= found.size) {
      response.writeHead(416, { 'content-range': `bytes */${found.size}` }).end();
      return;
    }
    response.writeHead(206, {
      'content-range': `bytes ${begin}-${end - 1}/${found.size}`,
      'content-length': end - begin,
    });
    return this.#send(path, response, found, begin, end);
  }

  async #send(path: string, response: ServerResponse, found: Found, begin: number, end: number): Promise<void> {
    const drop = this.drops.get(path);
    this.drops.delete(path);
    if (drop !== undefined) {
      response.write(await found.read(begin, Math.min(end, begin + drop)), () => response.destroy());
      return;
    }
    // A client that goes away is no error of the server.
    await pipeline(Readable.from(this.#pieces(found, begin, end)), response).catch(() => {});
  }

  async *#pieces(found: Found, begin: number, end: number): AsyncGenerator<Uint8Array> {
    const { pieceBytes } = this.#options;
    const step = pieceBytes ?? 2 ** 22;
    for (let at = begin; at < end; at += step) {
      yield await found.read(at, Math.min(end, at + step));
      if (pieceBytes !== undefined) await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async #find(path: string): Promise<Found | undefined> {
    const page = this.#options.pages?.get(path);
    if (page !== undefined) return foundPage(page);
    for (const [prefix, folder] of Object.entries(this.#options.folders ?? {})) {
      if (!path.startsWith(prefix)) continue;
      const found = await findFile(join(folder, normalize(`/${path.slice(prefix.length)}`)));
      if (found !== undefined) return found;
    }
    const { fallback } = this.#options;
    return fallback && foundPage(fallback);
  }
}

function foundPage({ content, contentType = 'application/octet-stream' }: Page): Found {
  const bytes = Buffer.from(content);
  return {
    size: bytes.length,
    contentType,
    etag: etagOf(content),
    read: async (begin, end) => bytes.subarray(begin, end),
  };
}

function etagOf(content: string | Uint8Array): string {
  return `"${createHash('sha1').update(content).digest('hex')}"`;
}

async function findFile(path: string): Promise<Found | undefined> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats?.isFile()) return undefined;
  const contentType = CONTENT_TYPES[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream';
  const read = async (begin: number, end: number) => {
    const file = await open(path);
    try {
      const bytes = new Uint8Array(end - begin);
      await file.read(bytes, 0, bytes.length, begin);
      return bytes;
    } finally {
      await file.close();
    }
  };
  return {
    size: stats.size,
    contentType,
    etag: etagOf(`${stats.mtimeMs}`),
    lastModified: stats.mtime.toUTCString(),
    read,
  };
}
