import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import { HttpError, unlessGone } from '../wire/http-error.ts';
import type { ServerEnv } from './env.ts';

/** The body of a request. @throws HttpError 413 before more than `maxBytes` are kept, 415; 499 where the client leaves */
export async function bodyBytes(c: Context<ServerEnv>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    throw new HttpError(415, `Content-Encoding '${encoding}' is not supported.`, { code: 'unsupported_media_type' });
  }
  const length = c.req.header('content-length');
  // The HTTP parser holds the sender to it.
  if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes);
  try {
    return length === undefined ? await chunkedBytes(c, maxBytes) : new Uint8Array(await c.req.arrayBuffer());
  } catch (error) {
    throw error instanceof HttpError ? error : unlessGone(error, c.req.raw.signal);
  }
}

/** Bytes for a body whose length is not known, at first. */
const FIRST_BYTES = 16_384;

/** Puts a body together in one piece of memory: of chunks there may be as many as bytes. */
class GrowingBytes {
  readonly #most: number;
  #bytes = new Uint8Array(FIRST_BYTES);
  #length = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws HttpError 413 */
  push(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > this.#most) throw tooLarge(this.#most);
    if (length > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(this.#most, Math.max(length, 2 * this.#bytes.length)));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = length;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
}

async function chunkedBytes(c: Context<ServerEnv>, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new GrowingBytes(maxBytes);
  // A stream of the web takes ten times as long for each chunk, and one packet may hold thousands.
  if (c.env?.source) await receive(c.env.source, bytes);
  else for await (const chunk of c.req.raw.body ?? []) bytes.push(chunk);
  return bytes.bytes();
}

/** Rejects with what `bytes` throws; then the rest is not read. */
function receive(source: IncomingMessage, bytes: GrowingBytes): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const fail = (error: unknown) => {
      source.pause().removeAllListeners('data');
      reject(error);
    };
    source.on('data', (chunk: Uint8Array) => {
      try {
        bytes.push(chunk);
      } catch (error) {
        fail(error);
      }
    });
    source.once('end', resolve);
    source.once('error', fail);
    source.once('close', () => fail(new Error('The connection was closed.')));
  });
}

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `The body is larger than ${maxBytes} bytes.`, { code: 'body_too_large' });
}
