import { DisposedError } from '../../errors.ts';
import { assertRange, type ByteSource, bytesFor } from '../files/byte-source.ts';
import type { FileVersion } from '../net/file-version.ts';
import type { OnBytes } from '../net/progress.ts';
import { ByteRanges } from './byte-ranges.ts';
import { writeFully } from './quota.ts';
import { readFully, type StorageFile } from './storage-folder.ts';
import type { FileRecord } from './stored-record.ts';

/** Fetches a range of a file. Resolves when it is stored. */
type Fetch = (file: StoredFile, begin: number, end: number) => Promise<void>;

/** A file of which some ranges are stored; the owner fetches the others on demand. */
export class StoredFile implements ByteSource {
  /** URL of the file. */
  readonly name: string;
  readonly size: number;
  readonly version: FileVersion;
  /** Ranges that are stored. */
  readonly stored: ByteRanges;
  /** Ranges that are stored or being fetched. */
  readonly claimed: ByteRanges;
  /** Whether the server gives ranges of it; undefined as long as that is not known. */
  givesRanges: boolean | undefined;
  readonly #bytes: StorageFile;
  readonly #fetch: Fetch;
  readonly #onBytes: OnBytes;
  #isClosed = false;

  constructor(
    name: string,
    version: FileVersion & { readonly size: number },
    bytes: StorageFile,
    stored: ByteRanges,
    use: { readonly fetch: Fetch; readonly onBytes: OnBytes },
  ) {
    this.name = name;
    this.size = version.size;
    this.version = version;
    this.#bytes = bytes;
    this.stored = stored;
    this.claimed = new ByteRanges(stored);
    this.#fetch = use.fetch;
    this.#onBytes = use.onBytes;
  }

  async read(offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    assertRange(this, offset, length);
    const end = offset + length;
    if (!this.stored.covers({ begin: offset, end })) await this.#fetch(this, offset, end);
    if (this.#isClosed) throw new DisposedError(`'${this.name}' was closed.`, 'Open the checkpoint again.');
    const bytes = bytesFor(length, scratch);
    readFully(this.#bytes, bytes, offset);
    return bytes;
  }

  /** Stores bytes that were fetched. @throws StorageQuotaError */
  write(begin: number, bytes: Uint8Array): void {
    if (this.#isClosed) return;
    writeFully(this.#bytes, this.name, bytes, begin);
    this.stored.add({ begin, end: begin + bytes.length });
    this.#onBytes(this.stored.count, this.size);
  }

  /** Writes to disk. → the record of what will be there at the next load */
  flush(): FileRecord {
    if (!this.#isClosed) this.#bytes.flush();
    return { ...this.version, size: this.size, ranges: [...this.stored] };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // Room that was taken ahead.
    this.#bytes.truncate([...this.stored].at(-1)?.end ?? 0);
    this.#bytes.close();
  }
}
