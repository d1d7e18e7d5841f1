import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An S3-compatible server in memory, as far as a store of states asks it. */
export interface S3Server {
  readonly url: string;
  readonly objects: Map<string, Buffer>;
  /** Requests that it got, without their bodies. */
  readonly requests: string[];
  /** Headers of the last one. */
  readonly headers: () => NodeJS.Dict<string | string[]>;
  /** Answers everything with this status, if it is set. */
  status: number | undefined;
  close(): Promise<void>;
}

/** It checks that requests are signed, and for one bucket, in the form that has the bucket in the path. */
export async function startS3(bucket: string): Promise<S3Server> {
  const objects = new Map<string, Buffer>();
  const requests: string[] = [];
  let headers: NodeJS.Dict<string | string[]> = {};
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const url = new URL(request.url ?? '', 'http://s3');
    headers = request.headers;
    requests.push(`${request.method} ${url.pathname}${url.search}`);
    const answer = (status: number, body: string | Buffer = '', type = 'application/xml') => {
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const error = (status: number, code: string) =>
      answer(status, `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    if (s3.status !== undefined) return error(s3.status, 'SlowDown');
    if (!/^AWS4-HMAC-SHA256 Credential=/.test(request.headers.authorization ?? '')) return error(403, 'AccessDenied');
    const [, inBucket, key] = /^\/([^/]+)\/?(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    if (inBucket !== bucket) return error(404, 'NoSuchBucket');
    if (request.method === 'PUT') {
      const body = Buffer.concat(chunks);
      if (body.length !== Number(request.headers['content-length'])) return error(400, 'IncompleteBody');
      objects.set(key, body);
      return answer(200);
    }
    if (url.searchParams.get('list-type') === '2') {
      const prefix = url.searchParams.get('prefix') ?? '';
      const keys = [...objects.keys()].filter((each) => each.startsWith(prefix)).sort();
      const shown = keys.slice(0, Number(url.searchParams.get('max-keys') ?? 1000));
      const contents = shown.map((each) => `<Contents><Key>${each}</Key></Contents>`).join('');
      return answer(200, `<?xml version="1.0"?><ListBucketResult><Name>${bucket}</Name>${contents}</ListBucketResult>`);
    }
    const object = objects.get(key);
    if (!object) return error(404, 'NoSuchKey');
    answer(200, object, 'application/octet-stream');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const s3: S3Server = {
    url: `http://127.0.0.1:${port}`,
    objects,
    requests,
    headers: () => headers,
    status: undefined,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return s3;
}
