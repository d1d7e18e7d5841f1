import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { JsonFileError } from '../../errors.ts';
import { isGguf } from '../net/urls.ts';
import type { ByteSource } from './byte-source.ts';
import { FilePool } from './file-pool.ts';
import type { ModelFiles } from './model-files.ts';

/** A model in a local folder. */
export class FolderFiles implements ModelFiles {
  readonly location: string;
  readonly #folder: string;
  readonly #pool = new FilePool();

  /** @param location path of the folder, or of a GGUF file in it. */
  constructor(location: string) {
    this.location = location;
    this.#folder = isGguf(location) ? dirname(location) : location;
  }

  nameOf(file: string): string {
    return join(this.#folder, file);
  }

  async readText(file: string): Promise<string | undefined> {
    const path = this.nameOf(file);
    try {
      return await readFile(path, 'utf8');
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
      throw new JsonFileError(`Can't read ${path}: ${message}.`, 'Check the permissions.', { cause });
    }
  }

  async open(file: string): Promise<ByteSource | undefined> {
    const path = this.nameOf(file);
    if ((await stat(path).catch(() => undefined)) === undefined) return undefined;
    return this.#pool.source(path);
  }

  async list(): Promise<readonly string[]> {
    return readdir(this.#folder);
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }
}
