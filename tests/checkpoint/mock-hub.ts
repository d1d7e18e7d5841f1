import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** What the server does with one request for a file, in place of answering it well. */
export interface Fault {
  /** Answer with this status and no content. */
  status?: number;
  /** Cut the connection after this many bytes of the body. */
  dropAfter?: number;
  /** Send all of the file with status 200, whatever range was asked for. */
  ignoreRange?: boolean;
  /** Send this in place of the right content. */
  content?: Buffer;
  /** Send a Content-Range that was not asked for. */
  wrongRange?: boolean;
}

export interface FileRequest {
  file: string;
  range: string | undefined;
  authorization: string | undefined;
}

export const COMMIT = 'c0ffee'.repeat(6).padEnd(40, '0');

/** A Hugging Face hub with one repository, `org/name`, on 127.0.0.1. */
export class MockHub {
  readonly files = new Map<string, Buffer>();
  /** Files that are stored in LFS: their etag is the SHA-256. */
  readonly lfs = new Set<string>();
  /** Consumed one per request for the file. */
  readonly faults = new Map<string, Fault[]>();
  /** Statuses for requests to the API, consumed one per request. */
  readonly apiStatuses: number[] = [];
  readonly requests: FileRequest[] = [];
  /** Of files, so far. */
  sentBytes = 0;
  commit = COMMIT;
  endpoint = '';

  static async start(files: Record<string, string | Uint8Array>): Promise<MockHub> {
    const hub = new MockHub();
    for (const [name, content] of Object.entries(files)) hub.add(name, content);
    const server = createServer((request, response) => hub.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    hub.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return hub;
  }

  add(name: string, content: string | Uint8Array): void {
    this.files.set(name, Buffer.from(content));
    if (name.endsWith('.safetensors')) this.lfs.add(name);
  }

  etag(name: string): string {
    const content = this.files.get(name) ?? Buffer.alloc(0);
    if (this.lfs.has(name)) return createHash('sha256').update(content).digest('hex');
    return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
  }

  /** How often each file was asked for. */
  requestsOf(file: string): FileRequest[] {
    return this.requests.filter((request) => request.file === file);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url ?? '', this.endpoint).pathname);
    if (path.startsWith('/api/')) this.#answerApi(path, response);
    else this.#answerFile(path, request, response);
  }

  #answerApi(path: string, response: ServerResponse): void {
    const status = this.apiStatuses.shift() ?? 200;
    if (status !== 200) return void response.writeHead(status).end();
    const json = (body: unknown) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (/^\/api\/models\/org\/name\/revision\/(main|v1|refs\/pr\/1|[0-9a-f]{40})$/.test(path)) {
      json({ _id: 'x', id: 'org/name', sha: this.commit, lastModified: '2026-01-01T00:00:00.000Z' });
    } else if (path === `/api/models/org/name/tree/${this.commit}`) {
      json([
        { type: 'directory', oid: '0', size: 0, path: 'original' },
        ...[...this.files].map(([name, content]) => {
          const size = content.length;
          if (!this.lfs.has(name)) return { type: 'file', path: name, size, oid: this.etag(name) };
          return { type: 'file', path: name, size, oid: '1', lfs: { oid: this.etag(name), size, pointerSize: 1 } };
        }),
      ]);
    } else response.writeHead(404).end();
  }

  #answerFile(path: string, request: IncomingMessage, response: ServerResponse): void {
    const prefix = `/org/name/resolve/${this.commit}/`;
    const file = path.startsWith(prefix) ? path.slice(prefix.length) : '';
    const { range, authorization } = request.headers;
    this.requests.push({ file, range, authorization });
    const fault = this.faults.get(file)?.shift() ?? {};
    const content = fault.content ?? this.files.get(file);
    if (fault.status !== undefined) return void response.writeHead(fault.status).end();
    if (content === undefined) return void response.writeHead(404).end();
    const [, asked, last] = fault.ignoreRange ? [] : (/^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []);
    const start = Number(asked ?? 0);
    const end = Math.min(content.length, last ? Number(last) + 1 : content.length);
    if (asked !== undefined && start >= content.length) return void response.writeHead(416).end();
    const shown = fault.wrongRange ? start + 1 : start;
    const body = content.subarray(start, end);
    this.sentBytes += body.length;
    response.writeHead(asked === undefined ? 200 : 206, {
      'content-length': body.length,
      ...(asked !== undefined && { 'content-range': `bytes ${shown}-${end - 1}/${content.length}` }),
    });
    if (fault.dropAfter === undefined) return void response.end(body);
    response.write(body.subarray(0, fault.dropAfter), () => setTimeout(() => response.destroy(), 20));
  }
}
