import { readFile, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript',
  mjs: 'text/javascript',
  json: 'application/json',
};

/** What a server answers with, in place of a file. */
export interface Page {
  readonly content: string | Uint8Array;
  readonly contentType?: string;
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
  /** What is sent for unknown paths, with status 200, as servers of applications do. */
  readonly fallback?: Page | undefined;
  /** Bytes per piece of a body; between two the server waits a little. All at once when absent. */
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
    this.requests.push({ path, range, authorization });
    for (const [name, value] of Object.entries(this.#options.headers ?? {})) response.setHeader(name, value);
    const fault = this.faults.get(path)?.shift();
    const found = fault === undefined ? await this.#find(path) : undefined;
    if (found === undefined) {
      response.writeHead(fault ?? 404, { 'content-type': 'text/plain' }).end('no');
      return;
    }
    const bytes = Buffer.from(found.content);
    response.setHeader('content-type', found.contentType ?? 'application/octet-stream');
    const asked = this.#options.ranges === false ? undefined : /^bytes=(\d+)-(\d+)$/.exec(range ?? '');
    if (!asked) {
      response.writeHead(200, { 'content-length': bytes.length });
      return this.#send(path, response, bytes);
    }
    const begin = Number(asked[1]);
    const end = Math.min(Number(asked[2]) + 1, bytes.length);
    if (begin >= bytes.length) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
      return;
    }
    response.writeHead(206, {
      'content-range': `bytes ${begin}-${end - 1}/${bytes.length}`,
      'content-length': end - begin,
    });
    return this.#send(path, response, bytes.subarray(begin, end));
  }

  async #send(path: string, response: ServerResponse, bytes: Uint8Array): Promise<void> {
    const drop = this.drops.get(path);
    this.drops.delete(path);
    if (drop !== undefined) {
      response.write(bytes.subarray(0, drop), () => response.destroy());
      return;
    }
    const { pieceBytes = bytes.length } = this.#options;
    for (let begin = 0; begin < bytes.length && !response.destroyed; begin += pieceBytes) {
      const taken = response.write(bytes.subarray(begin, begin + pieceBytes));
      if (!taken) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
      else if (pieceBytes < bytes.length) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    response.end();
  }

  async #find(path: string): Promise<Page | undefined> {
    const page = this.#options.pages?.get(path);
    if (page !== undefined) return page;
    for (const [prefix, folder] of Object.entries(this.#options.folders ?? {})) {
      if (!path.startsWith(prefix)) continue;
      const file = join(folder, normalize(`/${path.slice(prefix.length)}`));
      if ((await stat(file).catch(() => undefined))?.isFile()) {
        const extension = file.slice(file.lastIndexOf('.') + 1);
        const contentType = CONTENT_TYPES[extension] ?? 'application/octet-stream';
        return { content: await readFile(file), contentType };
      }
    }
    return this.#options.fallback;
  }
}
