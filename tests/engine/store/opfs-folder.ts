/** A folder as browsers have it in their private file system, in memory. */
export class MemoryDirectory {
  readonly folders = new Map<string, MemoryDirectory>();
  readonly files = new Map<string, { bytes: Uint8Array<ArrayBuffer>; lastModified: number }>();

  async *keys(): AsyncGenerator<string, void> {
    yield* [...this.folders.keys(), ...this.files.keys()];
  }

  async getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<MemoryDirectory> {
    if (options?.create && !this.folders.has(name)) this.folders.set(name, new MemoryDirectory());
    return this.folders.get(name) ?? missing();
  }

  async getFileHandle(name: string, options?: { create?: boolean }) {
    if (!this.files.has(name)) {
      if (!options?.create) missing();
      this.files.set(name, { bytes: new Uint8Array(), lastModified: Date.now() });
    }
    return {
      getFile: async () => {
        const { bytes, lastModified } = this.files.get(name) ?? missing();
        return new File([bytes], name, { lastModified });
      },
      createWritable: async () => {
        let written = new Uint8Array();
        return {
          write: async (bytes: Uint8Array<ArrayBuffer>) => {
            written = bytes.slice();
          },
          close: async () => {
            this.files.set(name, { bytes: written, lastModified: Date.now() });
          },
          abort: async () => {},
        };
      },
    };
  }

  async removeEntry(name: string): Promise<void> {
    const folder = this.folders.get(name);
    if (folder && folder.folders.size + folder.files.size > 0) {
      throw new DOMException('The folder is not empty.', 'InvalidModificationError');
    }
    if (!this.folders.delete(name) && !this.files.delete(name)) missing();
  }
}

function missing(): never {
  throw new DOMException('There is nothing of this name.', 'NotFoundError');
}
