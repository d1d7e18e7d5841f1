import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import { HttpError, unlessGone } from '../wire/http-error.ts';
import type { ServerEnv } from './env.ts';

/** Memory for the bodies that all requests are sending. Small bodies need none of it. */
export class UploadMemory {
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws HttpError 429 if other requests have taken it. */
  take(bytes: number): void {
    if (this.#taken + bytes > this.#most) {
      throw new HttpError(429, 'Other requests are sending large bodies. Try again later.', {
        code: 'queue_full',
        headers: { 'retry-after': '1' },
      });
    }
    this.#taken += bytes;
  }

  release(bytes: number): void {
    this.#taken -= bytes;
  }
}

/**
 * The body of a request.
 * @throws HttpError 413 before more than `maxBytes` are kept, 415; 429 if `memory` has no more; 499 if the client leaves
 */
export async function bodyBytes(
  c: Context<ServerEnv>,
  maxBytes: number,
  memory: UploadMemory,
): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = c.req.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') {
    throw new HttpError(415, `Content-Encoding '${encoding}' is not supported.`, { code: 'unsupported_media_type' });
  }
  const length = Number(c.req.header('content-length') ?? 0);
  // The HTTP parser rejects bodies of another length.
  if (length > maxBytes) throw tooLarge(maxBytes);
  const body = new GrowingBytes(maxBytes, memory);
  try {
    // A web stream takes ten times as long for each part of a body, and one packet may hold thousands of parts.
    if (c.env?.source) await receive(c.env.source, body);
    else for await (const part of c.req.raw.body ?? []) body.push(part);
    return body.bytes();
  } catch (error) {
    throw error instanceof HttpError ? error : unlessGone(error, c.req.raw.signal);
  } finally {
    body.release();
  }
}

/** Size of the first array for a body: the sender may announce far more bytes than it will send. */
const FIRST_BYTES = 16_384;

/** A body in one array, put together as its parts arrive: there may be as many parts as bytes. */
class GrowingBytes {
  readonly #most: number;
  readonly #memory: UploadMemory;
  #bytes = new Uint8Array(FIRST_BYTES);
  #length = 0;

  constructor(most: number, memory: UploadMemory) {
    this.#most = most;
    this.#memory = memory;
  }

  /** @throws HttpError 413, 429 */
  push(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (length > this.#most) throw tooLarge(this.#most);
    if (length > this.#bytes.length) {
      const size = Math.min(this.#most, Math.max(length, 2 * this.#bytes.length));
      this.#memory.take(size - this.#bytes.length);
      const grown = new Uint8Array(size);
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(part, this.#length);
    this.#length = length;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  release(): void {
    this.#memory.release(this.#bytes.length - FIRST_BYTES);
  }
}

/** Reads the request into `bytes`. Rejects with what `bytes` throws, without reading the rest. */
function receive(source: IncomingMessage, bytes: GrowingBytes): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    if (source.destroyed) return void reject(new Error('The connection was closed.'));
    const fail = (error: unknown) => {
      source.pause().removeAllListeners('data');
      reject(error);
    };
    source.on('data', (part: Uint8Array) => {
      try {
        bytes.push(part);
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
