import { DownloadError, ModelChangedError } from '../../errors.ts';
import { isSameVersion, versionOf } from '../net/file-version.ts';
import { type ByteRange, discard, type UrlClient } from '../net/url-client.ts';
import type { StoredFile } from './stored-file.ts';

/** Bytes per request: enough to hide its fixed costs, and few enough for a read elsewhere that waits for its end. */
const REQUEST_BYTES = 2 ** 24;

/** Requests at a time. Hosts with HTTP/1.1 take six of a browser, and the page wants some, too. */
const CONNECTIONS = 3;

/** A read that waits for bytes. */
interface WaitingRead extends ByteRange {
  readonly file: StoredFile;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** A range that is to be fetched with one request. */
interface RequestRange extends ByteRange {
  readonly file: StoredFile;
}

/**
 * Fetches the missing bytes of files: first those that a read waits for, then those that follow, then the rest. Bytes
 * are stored as they arrive.
 */
export class Downloads {
  readonly #client: UrlClient;
  /** Called when the record of a file should be written again. */
  readonly #onStored: (file: StoredFile) => void;
  readonly #files: StoredFile[] = [];
  readonly #readers = new Set<WaitingRead>();
  readonly #running = new Map<Promise<void>, StoredFile>();
  #last: RequestRange | undefined;
  /** The error that ended all downloads. */
  #ended: { readonly reason: unknown } | undefined;

  constructor(client: UrlClient, onStored: (file: StoredFile) => void) {
    this.#client = client;
    this.#onStored = onStored;
  }

  /** Adds a file of the model. Nothing is fetched before the first read. */
  add(file: StoredFile): void {
    this.#files.push(file);
  }

  /** Resolves when these bytes are stored. Rejects with what any download fails with. */
  async fetch(file: StoredFile, begin: number, end: number): Promise<void> {
    if (this.#ended) throw this.#ended.reason;
    await new Promise<void>((resolve, reject) => {
      this.#readers.add({ file, begin, end, resolve, reject });
      this.#startRequests();
    });
  }

  /** Resolves when nothing is written any more. The client's signal should have been aborted before. */
  async end(reason: unknown): Promise<void> {
    this.#fail(reason);
    await Promise.allSettled(this.#running.keys());
  }

  #startRequests(): void {
    while (!this.#ended && this.#running.size < CONNECTIONS) {
      const range = this.#nextRange();
      if (range === undefined) return;
      range.file.claimed.add(range);
      this.#last = range;
      const running = this.#run(range).catch((error: unknown) => this.#fail(error));
      this.#running.set(running, range.file);
      running.finally(() => {
        this.#running.delete(running);
        this.#startRequests();
      });
    }
  }

  #nextRange(): RequestRange | undefined {
    for (const { file, begin, end } of this.#readers) {
      const range = this.#rangeToFetch(file, begin, end);
      if (range) return range;
    }
    const { file: lastFile, end: lastEnd } = this.#last ?? {};
    const first = lastFile ? this.#files.indexOf(lastFile) : 0;
    const following = lastFile && this.#rangeToFetch(lastFile, lastEnd ?? 0, lastFile.size);
    if (following) return following;
    for (const file of [...this.#files.slice(first + 1), ...this.#files.slice(0, first + 1)]) {
      const range = this.#rangeToFetch(file, 0, file.size);
      if (range) return range;
    }
    return undefined;
  }

  /** The first bytes of a range that are neither stored nor being fetched, and those that follow. */
  #rangeToFetch(file: StoredFile, begin: number, end: number): RequestRange | undefined {
    const gap = file.claimed.firstGap({ begin, end });
    if (gap === undefined) return undefined;
    // One request shows whether the server gives ranges; from one that does not, several would be of the whole each.
    if (file.givesRanges === undefined && [...this.#running.values()].includes(file)) return undefined;
    if (file.givesRanges === false) return { file, begin: 0, end: file.size };
    const range = file.claimed.firstGap({ begin: gap.begin, end: Math.min(gap.begin + REQUEST_BYTES, file.size) });
    return range && { file, ...range };
  }

  async #run({ file, begin, end }: RequestRange): Promise<void> {
    let position = begin;
    let last = end;
    let furthest = begin;
    await this.#client.retry(file.name, async (onProgress) => {
      const response = await this.#client.get(file.name, { begin: position, end: last });
      assertUnchanged(file, response);
      file.givesRanges = response.status === 206;
      if (file.givesRanges) assertBeginsAt(position, file, response);
      else {
        position = 0;
        last = file.size;
        file.claimed.add({ begin: position, end: last });
      }
      for await (const bytes of partsOf(response)) {
        const taken = bytes.subarray(0, last - position);
        file.write(position, taken);
        position += taken.length;
        if (position > furthest) onProgress();
        furthest = Math.max(furthest, position);
        this.#wake(file);
      }
      if (position < last) throw new Error(`the connection ended ${last - position} bytes too early`);
    });
    this.#onStored(file);
  }

  #wake(file: StoredFile): void {
    for (const reader of this.#readers) {
      if (reader.file !== file || !file.stored.covers(reader)) continue;
      this.#readers.delete(reader);
      reader.resolve();
    }
  }

  #fail(reason: unknown): void {
    this.#ended ??= { reason };
    for (const { reject } of this.#readers) reject(this.#ended.reason);
    this.#readers.clear();
  }
}

/** @throws ModelChangedError, DownloadError */
function assertUnchanged(file: StoredFile, response: Response | undefined): asserts response is Response {
  const found = response && versionOf(response);
  if (response && found && (response.status === 200 || response.status === 206)) {
    if (isSameVersion(file.version, found)) return;
  } else if (response?.status !== undefined && response.status !== 416) {
    discard(response);
    throw new DownloadError(`The server answered ${response.status} for a range of '${file.name}'.`);
  }
  discard(response);
  throw new ModelChangedError(
    `'${file.name}' was changed or removed while it was fetched.`,
    'Load the model again: the stored bytes of the old file will be replaced.',
  );
}

/** @throws DownloadError */
function assertBeginsAt(position: number, { name }: StoredFile, response: Response): void {
  const given = response.headers.get('content-range') ?? `bytes ${position}-`;
  if (given.startsWith(`bytes ${position}-`)) return;
  discard(response);
  throw new DownloadError(`The server gave '${given}' of '${name}', not what was asked for from byte ${position} on.`);
}

async function* partsOf(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) throw new Error('the answer has no content');
  const reader = response.body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    // An error of a cancelled stream does not matter.
    reader.cancel().catch(() => {});
  }
}
