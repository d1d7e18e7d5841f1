import type { FileVersion } from '../net/file-version.ts';
import type { ByteRange } from '../net/url-client.ts';
import { readAll, type StorageFile, type StorageFolder } from './storage-folder.ts';

/** Record of one file of a stored model. */
export type FileRecord =
  | (FileVersion & {
      /** Bytes in total. */
      readonly size: number;
      /** Ranges that are stored. */
      readonly ranges: readonly ByteRange[];
    })
  /** The server has no file of that name. */
  | { readonly isAbsent: true };

/** Record of a stored model. */
export interface StoredRecord {
  /** URL of the folder, or of the GGUF file. */
  readonly location: string;
  /** Name that it was loaded by: a hub id, or a URL. */
  readonly name: string;
  /** Time of the last load, in milliseconds since 1970. */
  readonly lastUsed: number;
  readonly files: Readonly<Record<string, FileRecord>>;
}

/** Two files, written alternately: if the browser ends while it writes one, the other is whole. */
const SLOTS = ['record-0.json', 'record-1.json'] as const;

/** Version of the form of records. Records of other forms are ignored. */
const FORM = 1;

interface SlotContent {
  readonly form: typeof FORM;
  readonly revision: number;
  readonly record: StoredRecord;
}

/** The record of a model, in its folder. */
export class RecordFile {
  readonly #folder: StorageFolder;
  #revision: number;

  private constructor(folder: StorageFolder, revision: number) {
    this.#folder = folder;
    this.#revision = revision;
  }

  /** → and the record that is there. */
  static async open(folder: StorageFolder): Promise<{ file: RecordFile; record: StoredRecord | undefined }> {
    const texts: string[] = [];
    for (const slot of SLOTS)
      texts.push(await withFile(folder, slot, (file) => new TextDecoder().decode(readAll(file))));
    const newest = newestSlot(texts);
    return { file: new RecordFile(folder, newest?.revision ?? 0), record: newest?.record };
  }

  async write(record: StoredRecord): Promise<void> {
    const content: SlotContent = { form: FORM, revision: ++this.#revision, record };
    await withFile(this.#folder, SLOTS[this.#revision % SLOTS.length], (file) => {
      const bytes = new TextEncoder().encode(JSON.stringify(content));
      file.truncate(0);
      file.write(bytes, { at: 0 });
      file.flush();
    });
  }
}

/**
 * Record in a folder of the private file system, read asynchronously: pages cannot read synchronously, as workers do.
 */
export async function readRecord(folder: FileSystemDirectoryHandle): Promise<StoredRecord | undefined> {
  const texts = await Promise.all(
    SLOTS.map(async (slot) => {
      const handle = await folder.getFileHandle(slot).catch(() => undefined);
      return (await handle?.getFile())?.text() ?? '';
    }),
  );
  return newestSlot(texts)?.record;
}

function newestSlot(texts: readonly string[]): SlotContent | undefined {
  const whole = texts.map(parseSlot).filter((slot) => slot !== undefined);
  return whole.toSorted((a, b) => b.revision - a.revision).at(0);
}

/** Undefined when it was not written to its end, or by another version of this library. */
function parseSlot(text: string): SlotContent | undefined {
  try {
    const content: SlotContent = JSON.parse(text);
    return content.form === FORM ? content : undefined;
  } catch {
    return undefined;
  }
}

async function withFile<T>(folder: StorageFolder, name: string, use: (file: StorageFile) => T): Promise<T> {
  const file = await folder.open(name);
  try {
    return use(file);
  } finally {
    file.close();
  }
}
