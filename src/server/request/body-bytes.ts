import type { Context } from 'hono';
import { HttpError, unlessGone } from '../wire/http-error.ts';

/** The body of a request. @throws HttpError 413 before more than `maxBytes` are kept, 415; 499 where the client leaves */
export async function bodyBytes(c: Context, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    throw new HttpError(415, `Content-Encoding '${encoding}' is not supported.`, { code: 'unsupported_media_type' });
  }
  const length = c.req.header('content-length');
  // The HTTP parser holds the sender to it.
  if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes);
  try {
    return length === undefined
      ? await chunkedBytes(c.req.raw.body, maxBytes)
      : new Uint8Array(await c.req.arrayBuffer());
  } catch (error) {
    throw error instanceof HttpError ? error : unlessGone(error, c.req.raw.signal);
  }
}

async function chunkedBytes(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `The body is larger than ${maxBytes} bytes.`, { code: 'body_too_large' });
}
