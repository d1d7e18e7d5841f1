import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ArgumentError } from '../../../errors.ts';
import { pathOfFileUrl } from '../../../util/file-url.ts';
import { type KeyFolder, KeyFolderStore, type StoredValue } from './key-folder.ts';
import type { StateStore } from './state-store.ts';

/** Bytes that a store may take of a disk. */
const MOST_BYTES = 10 * 2 ** 30;

/** A folder of a file system that several machines may mount: a folder for each place, a file for each value. */
class NodeFolder implements KeyFolder {
  readonly #root: string;
  #written = 0;

  constructor(root: string) {
    this.#root = root;
  }

  async names(place: string): Promise<readonly string[]> {
    return (await orMissing(readdir(join(this.#root, place)))) ?? [];
  }

  async places(): Promise<readonly string[]> {
    return (await orMissing(readdir(this.#root))) ?? [];
  }

  async read(place: string, name: string, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    return orMissing(readFile(join(this.#root, place, name), { signal }));
  }

  async write(place: string, name: string, value: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const folder = join(this.#root, place);
    await mkdir(folder, { recursive: true });
    // Readers see a file when it is whole.
    const partial = join(folder, `${name}.${process.pid}-${this.#written++}.tmp`);
    try {
      await writeFile(partial, value, { signal });
      await rename(partial, join(folder, name));
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
  }

  async touch(place: string, name: string): Promise<boolean> {
    const now = new Date();
    return (await orMissing(utimes(join(this.#root, place, name), now, now).then(() => true))) ?? false;
  }

  async describe(place: string, name: string): Promise<StoredValue | undefined> {
    const found = await orMissing(stat(join(this.#root, place, name)));
    return found && { bytes: found.size, usedAt: found.mtimeMs };
  }

  async remove(place: string, name: string): Promise<void> {
    await rm(join(this.#root, place, name), { force: true });
  }

  async removePlace(place: string): Promise<void> {
    // Another machine may have put something there: then the folder stays.
    await rm(join(this.#root, place), { recursive: false }).catch(() => {});
  }
}

/**
 * A store in a folder, such as one that several machines mount. Rejects with ArgumentError where no folder is named.
 * @param location `file:///folder`, or `file:folder`, which may be relative
 * @param maxBytes that it may take. Default: 10 GiB.
 */
export async function openFolderStore(location: string, maxBytes: number = MOST_BYTES): Promise<StateStore> {
  const root = pathOf(location);
  if (root === '') throw new ArgumentError("The state store's folder is empty.", "Write 'file:///folder'.");
  await mkdir(root, { recursive: true });
  return new KeyFolderStore(new NodeFolder(root), maxBytes);
}

function pathOf(location: string): string {
  const plain = location.replace(/[?#].*$/, '');
  return /^file:\/\//i.test(plain) ? pathOfFileUrl(plain, noFolder) : decodeURIComponent(plain.slice('file:'.length));
}

function noFolder(reason: string): ArgumentError {
  return new ArgumentError(`The state store's URL names no folder: ${reason}.`, "Write 'file:///folder'.");
}

/** The result, or undefined where the file or folder is not there. */
async function orMissing<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}
