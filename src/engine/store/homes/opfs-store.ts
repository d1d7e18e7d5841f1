import { type KeyFolder, KeyFolderStore, type StoredValue } from './key-folder.ts';
import type { StateStore } from './state-store.ts';

/** TypeScript's library lacks it. */
interface Entries {
  keys(): AsyncIterable<string>;
}

/** A folder of a browser's private file system. */
class OpfsFolder implements KeyFolder {
  readonly #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  places(): Promise<readonly string[]> {
    return keysOf(this.#root);
  }

  async names(place: string): Promise<readonly string[]> {
    const folder = await orMissing(this.#root.getDirectoryHandle(place));
    return folder ? keysOf(folder) : [];
  }

  async read(place: string, name: string): Promise<Uint8Array | undefined> {
    const file = await this.#file(place, name);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  async write(
    place: string,
    name: string,
    value: Uint8Array<ArrayBuffer>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const folder = await this.#root.getDirectoryHandle(place, { create: true });
    const handle = await folder.getFileHandle(name, { create: true });
    // What is written shows when the stream is closed.
    const stream = await handle.createWritable();
    try {
      await stream.write(value);
      signal?.throwIfAborted();
      await stream.close();
    } catch (error) {
      await stream.abort().catch(() => {});
      throw error;
    }
  }

  /** A browser keeps the time at which a file was written, and none at which it was used. */
  async touch(place: string, name: string): Promise<boolean> {
    return (await this.#file(place, name)) !== undefined;
  }

  async describe(place: string, name: string): Promise<StoredValue | undefined> {
    const file = await this.#file(place, name);
    return file && { bytes: file.size, usedAt: file.lastModified };
  }

  async remove(place: string, name: string): Promise<void> {
    const folder = await orMissing(this.#root.getDirectoryHandle(place));
    await orMissing(folder?.removeEntry(name) ?? Promise.resolve());
  }

  async removePlace(place: string): Promise<void> {
    // Another page may have put something there: then the folder stays.
    await this.#root.removeEntry(place).catch(() => {});
  }

  async #file(place: string, name: string): Promise<File | undefined> {
    const folder = await orMissing(this.#root.getDirectoryHandle(place));
    const handle = folder && (await orMissing(folder.getFileHandle(name)));
    return handle && orMissing(handle.getFile());
  }
}

/** Bytes that a store may take of an origin's storage. */
const MOST_BYTES = 2 ** 30;

/**
 * A store of states in a folder of the browser's private file system. `openStateStore('opfs:states')` makes the folder, too.
 * @param maxBytes that it may take. Default: 1 GiB.
 *
 * @example
 * ```ts
 * const root = await navigator.storage.getDirectory();
 * const stateStore = opfsStateStore(await root.getDirectoryHandle('states', { create: true }));
 * const llm = await LLM.load('/models/tiny-dts', { stateStore });
 * ```
 */
export function opfsStateStore(folder: FileSystemDirectoryHandle, maxBytes: number = MOST_BYTES): StateStore {
  return new KeyFolderStore(new OpfsFolder(folder), maxBytes);
}

async function keysOf(folder: FileSystemDirectoryHandle): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of (folder as FileSystemDirectoryHandle & Entries).keys()) keys.push(key);
  return keys;
}

/** The result, or undefined where the file or folder is not there. */
async function orMissing<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'NotFoundError') return undefined;
    throw error;
  }
}
