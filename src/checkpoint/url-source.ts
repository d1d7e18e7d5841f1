import { DisposedError, DownloadError } from '../errors.ts';
import { assertRange, type ByteSource, memorySource } from './byte-source.ts';
import type { UrlClient } from './url-client.ts';

/** Called with the place up to which a file was received, and its size. */
export type OnBytes = (loaded: number, total: number) => void;

/** The first request asks for this much: enough for the header of most files. */
const HEAD_BYTES = 2 ** 18;

/** A small read fetches as much, because the next one asks for what follows: a request costs as much as this many bytes. */
const READ_AHEAD = 2 ** 22;

/**
 * A file at a URL: read range by range, or as one stream where the server ignores ranges. Undefined when there is no
 * such file. Rejects with DownloadError when it can't be fetched.
 */
export async function openUrl(client: UrlClient, url: string, onBytes: OnBytes): Promise<ByteSource | undefined> {
  return client.retry(url, async () => {
    const response = await client.get(url, { begin: 0, end: HEAD_BYTES });
    if (response === undefined) return undefined;
    if (response.status === 416) return memorySource(url, new Uint8Array());
    const total = response.status === 206 ? rangeTotal(response) : undefined;
    if (total !== undefined) {
      const head = new Uint8Array(Math.min(HEAD_BYTES, total));
      await receive(readerOf(response), head, (filled) => onBytes(filled, total));
      return new RangeSource(client, url, total, head, onBytes);
    }
    // Servers of other origins may hide the size of what they give a range of.
    if (response.status === 206) await response.body?.cancel();
    const whole = response.status === 206 ? await client.get(url) : response;
    if (whole === undefined) return undefined;
    const size = wholeSize(whole);
    if (size === undefined) return memorySource(url, new Uint8Array(await whole.arrayBuffer()));
    return StreamSource.start(client, url, size, readerOf(whole), onBytes);
  });
}

/** A file of which the server gives any range. Small reads are served from what was fetched ahead. */
class RangeSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #client: UrlClient;
  readonly #onBytes: OnBytes;
  /** What was fetched last beyond what was asked for. */
  #ahead: { readonly begin: number; readonly bytes: Uint8Array };
  #closed = false;

  constructor(client: UrlClient, url: string, size: number, head: Uint8Array, onBytes: OnBytes) {
    this.#client = client;
    this.name = url;
    this.size = size;
    this.#ahead = { begin: 0, bytes: head };
    this.#onBytes = onBytes;
  }

  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    assertRange(this, offset, length);
    assertOpen(this.name, this.#closed);
    const bytes = new Uint8Array(length);
    const held = copyHeld(this.#ahead, offset, bytes);
    const missing = length - held;
    if (missing === 0) return bytes;
    const begin = offset + held;
    if (missing >= READ_AHEAD) {
      await this.#fetch(begin, bytes.subarray(held));
      return bytes;
    }
    const ahead = new Uint8Array(Math.min(READ_AHEAD, this.size - begin));
    await this.#fetch(begin, ahead);
    bytes.set(ahead.subarray(0, missing), held);
    this.#ahead = { begin, bytes: ahead };
    return bytes;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ahead = { begin: 0, bytes: new Uint8Array() };
  }

  /** Fills `into` from `begin` on; a second try goes on where the first one ended. */
  async #fetch(begin: number, into: Uint8Array): Promise<void> {
    let filled = 0;
    await this.#client.retry(this.name, async (onProgress) => {
      const range = { begin: begin + filled, end: begin + into.length };
      const response = await this.#client.get(this.name, range);
      const given = response?.headers.get('content-range');
      if (response?.status !== 206 || (given && given !== `bytes ${range.begin}-${range.end - 1}/${this.size}`)) {
        await response?.body?.cancel();
        throw new DownloadError(
          `The server answered ${response?.status ?? 404} (${given ?? 'no range'}) for a range of '${this.name}'.`,
          'The file was changed or removed meanwhile; load again.',
        );
      }
      const rest = into.subarray(filled);
      const before = filled;
      await receive(readerOf(response), rest, (count) => {
        filled = before + count;
        onProgress();
        this.#onBytes(begin + filled, this.size);
      });
    });
  }
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/**
 * A file of which the server gives only the whole: one download, read forwards. What lies behind the last read is
 * forgotten, so that no file needs to fit in memory; a read further back starts the download again.
 */
class StreamSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #client: UrlClient;
  readonly #onBytes: OnBytes;
  readonly #head: Uint8Array;
  #stream: { readonly reader: Reader; position: number; rest: Uint8Array } | undefined;
  #lastRead: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(client: UrlClient, url: string, size: number, onBytes: OnBytes) {
    this.#client = client;
    this.name = url;
    this.size = size;
    this.#onBytes = onBytes;
    this.#head = new Uint8Array(Math.min(HEAD_BYTES, size));
  }

  /** @param reader of the whole file. */
  static async start(
    client: UrlClient,
    url: string,
    size: number,
    reader: Reader,
    onBytes: OnBytes,
  ): Promise<StreamSource> {
    const source = new StreamSource(client, url, size, onBytes);
    source.#begin(reader);
    await source.#fill(source.#head);
    return source;
  }

  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    assertRange(this, offset, length);
    // One after another: they share the stream.
    const read = this.#lastRead.then(() => this.#read(offset, length));
    this.#lastRead = read.catch(() => {});
    return read;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#end();
  }

  async #read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    assertOpen(this.name, this.#closed);
    const bytes = new Uint8Array(length);
    const held = copyHeld({ begin: 0, bytes: this.#head }, offset, bytes);
    if (held < length) {
      await this.#client.retry(this.name, async () => {
        if (this.#stream === undefined || this.#stream.position > offset + held) await this.#restart();
        try {
          await this.#skipTo(offset + held);
          await this.#fill(bytes.subarray(held));
        } catch (error) {
          this.#end();
          throw error;
        }
      });
    }
    return bytes;
  }

  async #restart(): Promise<void> {
    this.#end();
    const response = await this.#client.get(this.name);
    if (response === undefined || wholeSize(response) !== this.size) {
      await response?.body?.cancel();
      throw new DownloadError(`'${this.name}' is not the same file any more.`, 'Load again.');
    }
    this.#begin(readerOf(response));
  }

  #begin(reader: Reader): void {
    const stream = { reader, position: 0, rest: new Uint8Array() };
    this.#stream = stream;
    this.#client.beginStream(() => {
      if (this.#stream === stream) this.#end();
    });
  }

  #end(): void {
    // What a cancelled stream says about it is of no use.
    this.#stream?.reader.cancel().catch(() => {});
    this.#stream = undefined;
  }

  async #skipTo(offset: number): Promise<void> {
    const skipped = new Uint8Array(HEAD_BYTES);
    for (let left = offset - this.#position(); left > 0; left = offset - this.#position()) {
      await this.#fill(skipped.subarray(0, Math.min(left, skipped.length)));
    }
  }

  #position(): number {
    return this.#stream?.position ?? 0;
  }

  async #fill(into: Uint8Array): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined) throw new Error('the download was ended');
    const begin = stream.position;
    const held = Math.min(stream.rest.length, into.length);
    into.set(stream.rest.subarray(0, held));
    stream.rest = stream.rest.subarray(held);
    stream.position += held;
    this.#onBytes(stream.position, this.size);
    if (held === into.length) return;
    stream.rest = await receive(stream.reader, into.subarray(held), (filled) => {
      stream.position = begin + held + filled;
      this.#onBytes(stream.position, this.size);
    });
  }
}

/** Copies what is held of the bytes from `offset` on. → how many those are */
function copyHeld(
  held: { readonly begin: number; readonly bytes: Uint8Array },
  offset: number,
  into: Uint8Array,
): number {
  const from = offset - held.begin;
  if (from < 0 || from >= held.bytes.length) return 0;
  const found = held.bytes.subarray(from, from + into.length);
  into.set(found);
  return found.length;
}

function assertOpen(name: string, closed: boolean): void {
  if (closed) throw new DisposedError(`'${name}' was closed.`, 'Open the checkpoint again.');
}

function readerOf(response: Response): Reader {
  if (response.body === null) throw new Error('the answer has no content');
  return response.body.getReader();
}

/** Fills `into` from a stream. → what came in the last piece beyond that */
async function receive(reader: Reader, into: Uint8Array, onBytes: (filled: number) => void): Promise<Uint8Array> {
  let filled = 0;
  while (filled < into.length) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the connection ended after ${filled} of ${into.length} bytes`);
    const taken = Math.min(value.length, into.length - filled);
    into.set(value.subarray(0, taken), filled);
    filled += taken;
    onBytes(filled);
    if (taken < value.length) return value.slice(taken);
  }
  return new Uint8Array();
}

/** Size of the file that an answer holds a range of. */
function rangeTotal(response: Response): number | undefined {
  const total = /^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
  return total === undefined ? undefined : Number(total);
}

/** Size of the file that is the answer; undefined when it is not said, or is that of a compressed form. */
function wholeSize(response: Response): number | undefined {
  const encoding = response.headers.get('content-encoding') ?? 'identity';
  const length = response.headers.get('content-length');
  return length === null || encoding !== 'identity' ? undefined : Number(length);
}
