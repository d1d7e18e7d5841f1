import type { StorageFile, StorageFolder } from '../../../src/checkpoint/stored/storage-folder.ts';

/** A file's bytes, in memory that grows ahead of them. */
class MemoryFile {
  #memory = new Uint8Array(2 ** 16);
  size = 0;

  get bytes(): Uint8Array {
    return this.#memory.subarray(0, this.size);
  }

  set bytes(bytes: Uint8Array) {
    this.size = bytes.length;
    this.#memory = new Uint8Array(bytes);
  }

  write(bytes: Uint8Array, at: number): void {
    const end = at + bytes.length;
    if (end > this.#memory.length) {
      const grown = new Uint8Array(2 * end);
      grown.set(this.bytes);
      this.#memory = grown;
    }
    this.#memory.set(bytes, at);
    this.size = Math.max(this.size, end);
  }
}

/** A folder in memory that behaves like one of the private file system. */
export class MemoryFolder implements StorageFolder {
  readonly files = new Map<string, MemoryFile>();
  readonly #open = new Set<string>();
  /** Bytes that may be stored. */
  capacity = Number.POSITIVE_INFINITY;

  async open(name: string): Promise<StorageFile> {
    if (this.#open.has(name)) throw new DOMException(`'${name}' is open.`, 'NoModificationAllowedError');
    this.#open.add(name);
    const file = this.files.get(name) ?? new MemoryFile();
    this.files.set(name, file);
    return {
      read: (into, { at }) => {
        const found = file.bytes.subarray(at, at + into.length);
        into.set(found);
        return found.length;
      },
      write: (bytes, { at }) => {
        const added = Math.max(0, at + bytes.length - file.size);
        if (this.usage + added > this.capacity) throw new DOMException('full', 'QuotaExceededError');
        file.write(bytes, at);
        return bytes.length;
      },
      truncate: (size) => {
        if (this.usage + size - file.size > this.capacity) throw new DOMException('full', 'QuotaExceededError');
        if (size > file.size) file.write(new Uint8Array(size - file.size), file.size);
        else file.bytes = file.bytes.slice(0, size);
      },
      getSize: () => file.size,
      flush: () => {},
      close: () => void this.#open.delete(name),
    };
  }

  /** Bytes that are stored. */
  get usage(): number {
    return [...this.files.values()].reduce((sum, { size }) => sum + size, 0);
  }

  get openFiles(): readonly string[] {
    return [...this.#open];
  }

  /** Puts other content into a file. */
  spoil(name: string, content: string): void {
    const file = this.files.get(name);
    if (file) file.bytes = new TextEncoder().encode(content);
  }
}
