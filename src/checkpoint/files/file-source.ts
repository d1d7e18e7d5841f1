import { type FileHandle, open } from 'node:fs/promises';
import { DisposedError, ModelNotFoundError, SafetensorsError } from '../../errors.ts';
import { assertRange, type ByteSource, bytesFor } from './byte-source.ts';

/** One read call of the operating system moves at most 2^31 - 1 bytes. */
const MAX_READ = 2 ** 30;

class FileSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  #handle: FileHandle | undefined;

  constructor(name: string, size: number, handle: FileHandle) {
    this.name = name;
    this.size = size;
    this.#handle = handle;
  }

  async read(offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
    assertRange(this, offset, length);
    const handle = this.#handle;
    if (handle === undefined) throw new DisposedError(`'${this.name}' was closed.`, 'Open the checkpoint again.');
    const bytes = bytesFor(length, scratch);
    let filled = 0;
    while (filled < length) {
      const wanted = Math.min(length - filled, MAX_READ);
      const { bytesRead } = await handle.read(bytes, filled, wanted, offset + filled);
      if (bytesRead === 0) {
        throw new SafetensorsError(
          `'${this.name}' ended at byte ${offset + filled}, but it had ${this.size} bytes when it was opened.`,
          'Something else writes to the file; wait for that and load again.',
        );
      }
      filled += bytesRead;
    }
    return bytes;
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}

/** Opens a local file for reading. Rejects with ModelNotFoundError when there is no such file. */
export async function openFile(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw new ModelNotFoundError(`Can't open '${path}': ${(cause as Error).message}.`, 'Check path and permissions.', {
      cause,
    });
  }
  const stats = await handle.stat();
  if (!stats.isFile()) {
    await handle.close();
    throw new ModelNotFoundError(`'${path}' is not a file.`);
  }
  return new FileSource(path, stats.size, handle);
}
