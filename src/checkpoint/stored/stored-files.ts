import { DisposedError, DownloadError, OfflineError } from '../../errors.ts';
import type { ByteSource } from '../files/byte-source.ts';
import type { ModelFiles } from '../files/model-files.ts';
import { once } from '../files/once.ts';
import { decodeText, type UrlOptions } from '../files/url-files.ts';
import { type FileVersion, isSameVersion, isTelling, versionOf } from '../net/file-version.ts';
import { fileProgress } from '../net/progress.ts';
import { UrlClient } from '../net/url-client.ts';
import { fileUrl, modelUrl } from '../net/urls.ts';
import { ByteRanges } from './byte-ranges.ts';
import { Downloads } from './downloads.ts';
import { probeFile } from './file-probe.ts';
import { assertQuota, quotaErrorOf, reserve, type StorageEstimator, writeFully } from './quota.ts';
import { readAll, type StorageFile, type StorageFolder } from './storage-folder.ts';
import { StoredFile } from './stored-file.ts';
import { type FileRecord, RecordFile, type StoredRecord } from './stored-record.ts';

export interface StoredFilesOptions extends Omit<UrlOptions, 'signal'> {
  /** Ask no server. */
  readonly localFilesOnly?: boolean | undefined;
}

type PresentRecord = Extract<FileRecord, { size: number }>;

/**
 * A model at a URL whose files are kept in a folder. What is stored is used as long as the server's version is the
 * same, which one request per file without content tells, and where the server can't be reached; the rest is fetched,
 * and stored as it arrives. No other object may use the folder until this one is closed.
 */
export class StoredFiles implements ModelFiles {
  readonly location: string;
  readonly #folder: StorageFolder;
  readonly #estimate: StorageEstimator;
  readonly #options: StoredFilesOptions;
  readonly #name: string;
  readonly #ending = new AbortController();
  readonly #client: UrlClient;
  /** Asks only once: where a stored file will do, a missing network should cost no wait. */
  readonly #hasty: UrlClient;
  readonly #downloads: Downloads;
  readonly #recordFile: RecordFile;
  readonly #records: Map<string, FileRecord>;
  readonly #texts = new Map<string, Promise<string | undefined>>();
  readonly #sources = new Map<string, Promise<StoredFile | undefined>>();
  readonly #opened = new Map<string, StoredFile>();
  #lastWrite: Promise<unknown> = Promise.resolve();
  #isServerAsked: boolean;
  #closed: Promise<void> | undefined;

  private constructor(
    location: string,
    folder: StorageFolder,
    estimate: StorageEstimator,
    options: StoredFilesOptions,
    recordFile: RecordFile,
    record: StoredRecord | undefined,
  ) {
    this.location = location;
    this.#folder = folder;
    this.#estimate = estimate;
    this.#options = options;
    this.#name = options.name ?? location;
    // The browser's own cache would keep everything a second time, and answer for the server.
    const uncached: typeof fetch = (input, init) => (options.fetch ?? fetch)(input, { ...init, cache: 'no-store' });
    this.#client = new UrlClient({ ...options, fetch: uncached, signal: this.#ending.signal });
    this.#hasty = new UrlClient({ ...options, fetch: uncached, signal: this.#ending.signal, maxTries: 1 });
    this.#downloads = new Downloads(this.#client, () => this.#remember());
    this.#recordFile = recordFile;
    this.#records = new Map(Object.entries(record?.files ?? {}));
    this.#isServerAsked = !options.localFilesOnly && !(isImmutable(location) && this.#records.size > 0);
  }

  /** @param location http(s) URL of the model's folder, or of its GGUF file. */
  static async open(
    location: string,
    folder: StorageFolder,
    estimate: StorageEstimator,
    options: StoredFilesOptions = {},
  ): Promise<StoredFiles> {
    const url = modelUrl(location);
    const { file, record } = await RecordFile.open(folder);
    return new StoredFiles(url, folder, estimate, options, file, record?.location === url ? record : undefined);
  }

  nameOf(file: string): string {
    return fileUrl(this.location, file);
  }

  async readText(file: string): Promise<string | undefined> {
    this.#assertOpen();
    return once(this.#texts, file, () => this.#readText(file));
  }

  async open(file: string): Promise<ByteSource | undefined> {
    this.#assertOpen();
    return once(this.#sources, file, () => this.#open(file));
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  /** Whether nothing of the model is stored: its folder is of no use. */
  get isEmpty(): boolean {
    return this.#opened.size === 0 && [...this.#records.values()].every((record) => 'isAbsent' in record);
  }

  /** Ends downloads; what was received is kept. */
  async close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const reason = new DisposedError(`'${this.location}' was closed.`, 'Open the checkpoint again.');
    this.#ending.abort(reason);
    await this.#downloads.end(reason);
    await Promise.allSettled([...this.#texts.values(), ...this.#sources.values()]);
    this.#remember();
    await this.#lastWrite;
    for (const file of this.#opened.values()) await file.close();
  }

  async #readText(file: string): Promise<string | undefined> {
    const url = this.nameOf(file);
    const onBytes = fileProgress(this.#name, file, this.#options.onProgress);
    const { record } = await this.#validRecord(file, isTelling);
    if (record && 'isAbsent' in record) return undefined;
    if (record !== undefined && isWhole(record)) {
      const bytes = await this.#withFile(file, readAll);
      onBytes(bytes.length, bytes.length);
      return decodeText(bytes, url);
    }
    this.#assertAllowed(file);
    return this.#client.retry(url, async () => {
      const response = await this.#client.get(url);
      if (response === undefined) {
        this.#records.set(file, { isAbsent: true });
        return undefined;
      }
      const bytes = new Uint8Array(await response.arrayBuffer());
      onBytes(0, bytes.length);
      onBytes(bytes.length, bytes.length);
      await this.#store(file, versionOf(response), bytes);
      return decodeText(bytes, url);
    });
  }

  async #open(file: string): Promise<StoredFile | undefined> {
    const url = this.nameOf(file);
    const { record, version } = await this.#validRecord(file, () => true);
    if (record && 'isAbsent' in record) return undefined;
    if (record === undefined) this.#assertAllowed(file);
    const hasSize = ({ size }: FileVersion) => size !== undefined;
    const known = record ?? (version && hasSize(version) ? version : undefined);
    const found = known ?? (await this.#client.retry(url, () => probeFile(this.#client, url, hasSize)));
    if (found === undefined) {
      this.#records.set(file, { isAbsent: true });
      return undefined;
    }
    if (found.size === undefined) return this.#openWhole(file, found);
    return this.#openRanges(file, { ...found, size: found.size }, new ByteRanges(record?.ranges));
  }

  async #openRanges(file: string, version: FileVersion & { size: number }, stored: ByteRanges): Promise<StoredFile> {
    const bytes = await this.#openStorage(file);
    try {
      if (stored.count === 0) bytes.truncate(0);
      const missing = version.size - bytes.getSize();
      if (missing > 0) await assertQuota(this.#estimate, this.#name, missing);
      reserve(bytes, this.#name, version.size);
    } catch (error) {
      bytes.close();
      throw error;
    }
    const onBytes = fileProgress(this.#name, file, this.#options.onProgress);
    const source = new StoredFile(this.nameOf(file), version, bytes, stored, {
      onBytes,
      fetch: async (...range) => {
        this.#assertAllowed(file);
        return this.#downloads.fetch(...range);
      },
    });
    onBytes(stored.count, version.size);
    this.#opened.set(file, source);
    this.#downloads.add(source);
    return source;
  }

  /** Opens a file whose size the server does not tell, mostly because it is compressed on the way. */
  async #openWhole(file: string, version: FileVersion): Promise<StoredFile | undefined> {
    const url = this.nameOf(file);
    const bytes = await this.#client.retry(url, async () => (await this.#client.get(url))?.arrayBuffer());
    if (bytes === undefined) return undefined;
    const size = bytes.byteLength;
    await assertQuota(this.#estimate, this.#name, size);
    await this.#store(file, version, new Uint8Array(bytes));
    return this.#openRanges(file, { ...version, size }, new ByteRanges([{ begin: 0, end: size }]));
  }

  /**
   * The record of a file, if it is still valid: the server tells the same version, or can't be asked.
   * @param suffices whether the server's headers would show every change.
   */
  async #validRecord(
    file: string,
    suffices: (version: FileVersion) => boolean,
  ): Promise<{ record?: FileRecord; version?: FileVersion }> {
    const record = this.#records.get(file);
    if (record === undefined) return {};
    if (!this.#isServerAsked) return { record };
    const url = this.nameOf(file);
    let version: FileVersion | undefined;
    try {
      version = await this.#hasty.retry(url, () =>
        probeFile(this.#hasty, url, (found) => found.size !== undefined || isTelling(found)),
      );
    } catch (error) {
      this.#ending.signal.throwIfAborted();
      // A refusal, which has no cause, stands: access may have been withdrawn.
      if (!(error instanceof DownloadError) || error.cause === undefined) throw error;
      this.#isServerAsked = false;
      return { record };
    }
    if (version === undefined) {
      this.#records.set(file, { isAbsent: true });
      return { record: { isAbsent: true } };
    }
    const holds = !('isAbsent' in record) && isSameVersion(record, version) && suffices(version);
    if (holds) return { record, version };
    this.#records.delete(file);
    return { version };
  }

  async #store(file: string, version: FileVersion, bytes: Uint8Array): Promise<void> {
    await this.#withFile(file, (stored) => {
      stored.truncate(0);
      writeFully(stored, this.nameOf(file), bytes, 0);
      stored.flush();
    });
    const size = bytes.length;
    this.#records.set(file, { ...version, size, ranges: [{ begin: 0, end: size }] });
    this.#remember();
  }

  async #openStorage(file: string): Promise<StorageFile> {
    try {
      return await this.#folder.open(storedName(file));
    } catch (error) {
      throw quotaErrorOf(error, this.#name) ?? error;
    }
  }

  async #withFile<T>(file: string, use: (stored: StorageFile) => T): Promise<T> {
    const stored = await this.#openStorage(file);
    try {
      return use(stored);
    } finally {
      stored.close();
    }
  }

  /** Writes the record, after the data that it describes is on disk. */
  #remember(): void {
    const write = async () => {
      if (this.isEmpty) return;
      for (const [file, source] of this.#opened) this.#records.set(file, source.flush());
      const files = Object.fromEntries(this.#records);
      await this.#recordFile.write({ location: this.location, name: this.#name, lastUsed: Date.now(), files });
    };
    // A record that can't be written costs the next load some fetching, and this one nothing.
    this.#lastWrite = this.#lastWrite.then(write).catch(() => {});
  }

  #assertAllowed(file: string): void {
    if (!this.#options.localFilesOnly) return;
    throw new OfflineError(
      `localFilesOnly is set, but this browser has not stored all of '${file}' of '${this.#name}'.`,
      'Load the model once without it.',
    );
  }

  #assertOpen(): void {
    if (this.#closed) throw new DisposedError(`'${this.location}' was closed.`, 'Open the checkpoint again.');
  }
}

function isWhole({ size, ranges }: PresentRecord): boolean {
  return new ByteRanges(ranges).covers({ begin: 0, end: size });
}

/** Whether the hub promises that nothing at this URL ever changes: it names a commit. */
function isImmutable(location: string): boolean {
  return /\/resolve\/[0-9a-f]{40}\/(.*\.gguf)?$/i.test(new URL(location).pathname);
}

/** Name of a file in the folder, different from those of the folder's own files. */
function storedName(file: string): string {
  return `file ${encodeURIComponent(file)}`;
}
