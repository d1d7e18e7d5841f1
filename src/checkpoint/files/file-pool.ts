import { stat } from 'node:fs/promises';
import { DisposedError, ModelNotFoundError } from '../../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { openFile } from './file-source.ts';

interface OpenFile {
  readonly source: Promise<ByteSource>;
  users: number;
}

/**
 * Files that are open only while they are in use, at most `limit` idle ones at a time: a checkpoint may have more
 * shards than a process may have open files.
 */
export class FilePool {
  readonly #limit: number;
  /** Least recently used first. */
  readonly #files = new Map<string, OpenFile>();
  #closed = false;

  constructor(limit = 4) {
    this.#limit = limit;
  }

  /** Files that are open now. */
  get openCount(): number {
    return this.#files.size;
  }

  /** A source that opens its file on each need. Rejects with ModelNotFoundError when there is no such file. */
  async source(path: string): Promise<ByteSource> {
    const stats = await stat(path).catch(() => undefined);
    if (stats === undefined || !stats.isFile()) throw new ModelNotFoundError(`There is no file '${path}'.`);
    return {
      name: path,
      size: stats.size,
      read: (offset, length, scratch) => this.#read(path, offset, length, scratch),
      close: () => this.#evict(path),
    };
  }

  /** Closes every file once its running reads are over; later reads reject with DisposedError. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#shrink(0);
  }

  async #read(path: string, offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#closed) throw new DisposedError(`'${path}' was closed.`, 'Open the checkpoint again.');
    const file = this.#files.get(path) ?? { source: this.#open(path), users: 0 };
    this.#files.delete(path);
    this.#files.set(path, file);
    file.users++;
    try {
      return await (await file.source).read(offset, length, scratch);
    } finally {
      file.users--;
      await this.#shrink(this.#closed ? 0 : this.#limit);
    }
  }

  async #open(path: string): Promise<ByteSource> {
    try {
      return await openFile(path);
    } catch (error) {
      // A failed open must not stay in the pool: the file may be there at the next read.
      this.#files.delete(path);
      throw error;
    }
  }

  async #shrink(limit: number): Promise<void> {
    for (const path of [...this.#files.keys()]) {
      if (this.#files.size <= limit) return;
      await this.#evict(path);
    }
  }

  async #evict(path: string): Promise<void> {
    const file = this.#files.get(path);
    if (file === undefined || file.users > 0) return;
    this.#files.delete(path);
    await (await file.source).close();
  }
}
