import type { IncomingMessage } from 'node:http';
import type { Context } from 'hono';
import { HttpError, unlessGone } from '../wire/http-error.ts';
import type { ServerEnv } from './env.ts';

/** Memory for bodies that are being received, all requests together. Small bodies always have some. */
export class UploadMemory {
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** @throws HttpError 429 if others have it. */
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
  // The HTTP parser holds the sender to it.
  if (length > maxBytes) throw tooLarge(maxBytes);
  const body = new GrowingBytes(maxBytes, memory);
  try {
    // A stream of the web takes ten times as long for each chunk, and one packet may hold thousands.
    if (c.env?.source) await receive(c.env.source, body);
    else for await (const chunk of c.req.raw.body ?? []) body.push(chunk);
    return body.bytes();
  } catch (error) {
    throw error instanceof HttpError ? error : unlessGone(error, c.req.raw.signal);
  } finally {
    body.release();
  }
}

/** Bytes for a body at first, since what a sender says of its length is not there yet. */
const FIRST_BYTES = 16_384;

/** Puts a body together in one piece of memory: of chunks there may be as many as bytes. */
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
  push(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (length > this.#most) throw tooLarge(this.#most);
    if (length > this.#bytes.length) {
      const size = Math.min(this.#most, Math.max(length, 2 * this.#bytes.length));
      this.#memory.take(size - this.#bytes.length);
      const grown = new Uint8Array(size);
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = length;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  release(): void {
    this.#memory.release(this.#bytes.length - FIRST_BYTES);
  }
}

/** Rejects with what `bytes` throws; then the rest is not read. */
function receive(source: IncomingMessage, bytes: GrowingBytes): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    if (source.destroyed) return void reject(new Error('The connection was closed.'));
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
