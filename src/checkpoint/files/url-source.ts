import { DisposedError, ModelChangedError } from '../../errors.ts';
import { type FileVersion, versionOf } from '../net/file-version.ts';
import type { OnBytes } from '../net/progress.ts';
import { discard, type UrlClient } from '../net/url-client.ts';
import { assertRange, type ByteSource, bytesFor, memorySource } from './byte-source.ts';

/** The first request asks for this much: enough for the header of most files. */
const HEAD_BYTES = 2 ** 18;

/**
 * Bytes that a small read fetches: the next read asks for what follows, and a request costs as much as some megabytes.
 */
const READ_AHEAD = 2 ** 24;

/**
 * A file at a URL: read range by range, or as one stream where the server ignores ranges. Undefined when there is no
 * such file. Rejects with DownloadError when it can't be fetched.
 */
export async function openUrl(client: UrlClient, url: string, onBytes: OnBytes): Promise<ByteSource | undefined> {
  return client.retry(url, async () => {
    const response = await client.get(url, { begin: 0, end: HEAD_BYTES });
    if (response === undefined) return undefined;
    if (response.status === 416) return memorySource(url, new Uint8Array());
    const total = response.status === 206 ? versionOf(response).size : undefined;
    if (total !== undefined) {
      const head = new Uint8Array(Math.min(HEAD_BYTES, total));
      await receive(readerOf(response), head, (filled) => onBytes(filled, total));
      return new RangeSource(client, url, { ...versionOf(response), size: total }, head, onBytes);
    }
    // Servers of other origins may hide the size of a file that they give a range of.
    if (response.status === 206) discard(response);
    const whole = response.status === 206 ? await client.get(url) : response;
    if (whole === undefined) return undefined;
    const { size } = versionOf(whole);
    if (size === undefined) return memorySource(url, new Uint8Array(await whole.arrayBuffer()));
    const head = new Uint8Array(Math.min(HEAD_BYTES, size));
    const stream = new FileStream(readerOf(whole));
    await stream.fill(head, (position) => onBytes(position, size));
    return new StreamSource(stream, client, url, { ...versionOf(whole), size }, head, onBytes);
  });
}

type KnownVersion = FileVersion & { readonly size: number };

/**
 * Reads at a place or a little further than the last are served from what was fetched ahead; so are those of the head.
 * What was fetched for the last read stays until a later one needs more: other ranks may want the same.
 */
abstract class AheadSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly version: FileVersion;
  protected readonly client: UrlClient;
  protected readonly onBytes: OnBytes;
  readonly #head: Uint8Array;
  #ahead: { readonly begin: number; readonly bytes: Uint8Array };
  #lastRead: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(client: UrlClient, url: string, version: KnownVersion, head: Uint8Array, onBytes: OnBytes) {
    this.client = client;
    this.name = url;
    this.size = version.size;
    this.version = version;
    this.onBytes = onBytes;
    this.#head = head;
    this.#ahead = { begin: 0, bytes: head };
  }

  async read(offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    assertRange(this, offset, length);
    // One after another, because they share the bytes that were fetched ahead.
    const read = this.#lastRead.then(() => this.#read(offset, length, scratch));
    this.#lastRead = read.catch(() => {});
    return read;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#ahead = { begin: 0, bytes: new Uint8Array() };
  }

  /** Fills `into` with the bytes from `begin` on. */
  protected abstract fetch(begin: number, into: Uint8Array): Promise<void>;

  async #read(offset: number, length: number, scratch: ArrayBuffer | undefined): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#closed) throw new DisposedError(`'${this.name}' was closed.`, 'Open the checkpoint again.');
    const bytes = bytesFor(length, scratch);
    const head = copyHeld({ begin: 0, bytes: this.#head }, offset, bytes);
    const held = head + copyHeld(this.#ahead, offset + head, bytes.subarray(head));
    if (held === length) return bytes;
    if (length >= READ_AHEAD) {
      await this.fetch(offset + held, bytes.subarray(held));
      return bytes;
    }
    const missing = Math.min(READ_AHEAD, this.size - offset - held);
    const ahead = new Uint8Array(held + missing);
    ahead.set(bytes.subarray(0, held));
    await this.fetch(offset + held, ahead.subarray(held));
    this.#ahead = { begin: offset, bytes: ahead };
    bytes.set(ahead.subarray(held, length), held);
    return bytes;
  }
}

/** A file of which the server gives any range. */
class RangeSource extends AheadSource {
  /** A second attempt continues where the first one ended. */
  protected async fetch(begin: number, into: Uint8Array): Promise<void> {
    let filled = 0;
    await this.client.retry(this.name, async (onProgress) => {
      const range = { begin: begin + filled, end: begin + into.length };
      const response = await this.client.get(this.name, range);
      const given = response?.headers.get('content-range');
      if (response?.status !== 206 || (given && given !== `bytes ${range.begin}-${range.end - 1}/${this.size}`)) {
        discard(response);
        throw new ModelChangedError(
          `The server answered ${response?.status ?? 404} (${given ?? 'no range'}) for a range of '${this.name}'.`,
          'The file was changed or removed while it was read; load the model again.',
        );
      }
      const before = filled;
      await receive(readerOf(response), into.subarray(before), (count) => {
        filled = before + count;
        onProgress();
        this.onBytes(begin + filled, this.size);
      });
    });
  }
}

type Reader = ReadableStreamDefaultReader<Uint8Array>;

/** A file of which the server gives only the whole: one download, forwards. To go back it begins again. */
class StreamSource extends AheadSource {
  readonly isSequential = true;
  #stream: FileStream | undefined;

  constructor(
    stream: FileStream,
    client: UrlClient,
    url: string,
    version: KnownVersion,
    head: Uint8Array,
    onBytes: OnBytes,
  ) {
    super(client, url, version, head, onBytes);
    this.#follow(stream);
  }

  override async close(): Promise<void> {
    await super.close();
    this.#end();
  }

  protected async fetch(begin: number, into: Uint8Array): Promise<void> {
    await this.client.retry(this.name, async () => {
      try {
        const stream = await this.#streamBefore(begin);
        await stream.skip(begin - stream.position);
        await stream.fill(into, (position) => this.onBytes(position, this.size));
      } catch (error) {
        this.#end();
        throw error;
      }
    });
  }

  async #streamBefore(begin: number): Promise<FileStream> {
    if (this.#stream !== undefined && this.#stream.position <= begin) return this.#stream;
    this.#end();
    const response = await this.client.get(this.name);
    if (response === undefined || versionOf(response).size !== this.size) {
      discard(response);
      throw new ModelChangedError(`'${this.name}' was changed while it was read.`, 'Load the model again.');
    }
    return this.#follow(new FileStream(readerOf(response)));
  }

  #follow(stream: FileStream): FileStream {
    this.#stream = stream;
    this.client.beginStream(() => {
      if (this.#stream === stream) this.#end();
    });
    return stream;
  }

  #end(): void {
    this.#stream?.cancel();
    this.#stream = undefined;
  }
}

/** A download from a file's first byte to its last. */
class FileStream {
  position = 0;
  readonly #reader: Reader;
  /** Received, but not yet asked for. */
  #rest = new Uint8Array();

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  async skip(count: number): Promise<void> {
    const skipped = new Uint8Array(Math.min(count, HEAD_BYTES));
    for (let left = count; left > 0; left -= skipped.length) await this.fill(skipped.subarray(0, left));
  }

  async fill(into: Uint8Array, onPosition: (position: number) => void = () => {}): Promise<void> {
    const begin = this.position;
    const held = this.#rest.subarray(0, into.length);
    into.set(held);
    this.#rest = this.#rest.subarray(held.length);
    const moved = (filled: number) => {
      this.position = begin + filled;
      onPosition(this.position);
    };
    moved(held.length);
    if (held.length === into.length) return;
    this.#rest = await receive(this.#reader, into.subarray(held.length), (filled) => moved(held.length + filled));
  }

  cancel(): void {
    // An error of a cancelled stream does not matter.
    this.#reader.cancel().catch(() => {});
  }
}

/** Copies the held bytes from `offset` on. @returns their number */
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

function readerOf(response: Response): Reader {
  if (response.body === null) throw new Error('the answer has no content');
  return response.body.getReader();
}

/** Fills `into` from a stream. @returns the rest of the last part, which did not fit */
async function receive(
  reader: Reader,
  into: Uint8Array,
  onBytes: (filled: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  let filled = 0;
  while (filled < into.length) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the connection ended after ${filled} of ${into.length} bytes`);
    const taken = Math.min(value.length, into.length - filled);
    into.set(value.subarray(0, taken), filled);
    filled += taken;
    onBytes(filled);
    if (taken < value.length) return new Uint8Array(value.subarray(taken));
  }
  return new Uint8Array();
}
