/** A file that is open for reading and writing, such as a worker's FileSystemSyncAccessHandle. */
export interface StorageFile {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

/** A folder of a browser's private file system. */
export interface StorageFolder {
  /** Opens a file, or makes it. It can't be opened a second time until it is closed. */
  open(name: string): Promise<StorageFile>;
}

/** TypeScript has this in its library for workers only. */
interface WorkerFileHandle {
  createSyncAccessHandle(): Promise<StorageFile>;
}

/** A folder in a browser's worker: pages have no synchronous access. */
export class OpfsFolder implements StorageFolder {
  readonly #folder: FileSystemDirectoryHandle;

  constructor(folder: FileSystemDirectoryHandle) {
    this.#folder = folder;
  }

  async open(name: string): Promise<StorageFile> {
    const handle: FileSystemFileHandle & Partial<WorkerFileHandle> = await this.#folder.getFileHandle(name, {
      create: true,
    });
    if (handle.createSyncAccessHandle === undefined) throw new TypeError('There are no synchronous access handles.');
    return handle.createSyncAccessHandle();
  }
}

/** The whole content of a file. */
export function readAll(file: StorageFile): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(file.getSize());
  readFully(file, bytes, 0);
  return bytes;
}

/** Fills `into` with the bytes from `at` on. Throws when the file ends before. */
export function readFully(file: StorageFile, into: Uint8Array, at: number): void {
  for (let filled = 0; filled < into.length; ) {
    const count = file.read(into.subarray(filled), { at: at + filled });
    if (count <= 0) throw new RangeError(`The file ends ${into.length - filled} bytes too early.`);
    filled += count;
  }
}
