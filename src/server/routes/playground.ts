import { createReadStream, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { Readable } from 'node:stream';
import type { Context } from 'hono';
import { importMapHash } from '../pages/import-map.ts';
import { HttpError } from '../wire/http-error.ts';

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
};

/** `GET /playground/…`: files from disk, with ranges, for pages that share memory among their threads. */
export function playgroundFile(files: ReadonlyMap<string, URL>) {
  const page = files.get('');
  const headers = {
    'cache-control': 'no-cache',
    'content-security-policy': page ? policy(readFileSync(page, 'utf8')) : "default-src 'none'",
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'accept-ranges': 'bytes',
  };
  return async (c: Context): Promise<Response> => {
    const file = files.get(c.req.param('path') ?? '');
    if (file === undefined) throw new HttpError(404, `There is nothing at ${c.req.path}.`, { code: 'not_found' });
    const { size, mtimeMs } = await stat(file);
    const etag = `"${size.toString(36)}-${Math.round(mtimeMs).toString(36)}"`;
    const own = {
      ...headers,
      etag,
      'content-type': CONTENT_TYPES[extname(file.pathname)] ?? 'application/octet-stream',
    };
    if (c.req.header('if-none-match') === etag) return c.body(null, 304, own);
    const range = rangeOf(c.req.header('range'), size);
    if (range === 'none') return c.body(null, 416, { ...own, 'content-range': `bytes */${size}` });
    const { begin, end } = range ?? { begin: 0, end: size };
    const lengths = {
      'content-length': `${end - begin}`,
      ...(range && { 'content-range': `bytes ${begin}-${end - 1}/${size}` }),
    };
    const isEmpty = c.req.method === 'HEAD' || begin === end;
    const body = isEmpty
      ? null
      : (Readable.toWeb(createReadStream(file, { start: begin, end: end - 1 })) as ReadableStream);
    return new Response(body, { status: range ? 206 : 200, headers: { ...own, ...lengths } });
  };
}

/**
 * Range of bytes that a request asks for; undefined for all bytes or several ranges; `none` for bytes that do not
 * exist.
 */
function rangeOf(header: string | undefined, size: number): { begin: number; end: number } | 'none' | undefined {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === undefined) return undefined;
  const begin = Number(first);
  const end = Math.min(size, last ? Number(last) + 1 : size);
  return begin < end ? { begin, end } : 'none';
}

/** Content security policy: scripts of the server and the page's import map; models from anywhere. */
function policy(html: string): string {
  return [
    "default-src 'none'",
    `script-src 'self' 'wasm-unsafe-eval' ${importMapHash(html)}`,
    "worker-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    'connect-src *',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
