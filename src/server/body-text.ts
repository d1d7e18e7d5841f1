import type { Context } from 'hono';
import { HttpError, unlessGone } from './http-error.ts';

/** The body of a request, as UTF-8. @throws HttpError 413 before more than `maxBytes` are kept, 415 */
export async function bodyText(c: Context, maxBytes: number): Promise<string> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    throw new HttpError(415, `Content-Encoding '${encoding}' is not supported.`, { code: 'unsupported_media_type' });
  }
  const length = c.req.header('content-length');
  if (length !== undefined) {
    // The HTTP parser holds the sender to it.
    if (Number(length) > maxBytes) throw tooLarge(maxBytes);
    return c.req.text().catch((error: unknown) => {
      throw unlessGone(error, c.req.raw.signal);
    });
  }
  try {
    return await chunkedText(c.req.raw.body, maxBytes);
  } catch (error) {
    throw error instanceof HttpError ? error : unlessGone(error, c.req.raw.signal);
  }
}

async function chunkedText(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `The body is larger than ${maxBytes} bytes.`, { code: 'body_too_large' });
}
