import { isUrl, modelUrl } from '../net/urls.ts';
import { ByteRanges } from './byte-ranges.ts';
import { lockOf, storedModelsFolder } from './model-folder.ts';
import { readRecord, type StoredRecord } from './stored-record.ts';

/** A model that this browser stores for this site. */
export interface StoredModel {
  /** Name that it was loaded by: a hub id, or a URL. */
  readonly name: string;
  /** URL of its folder, or of its GGUF file. */
  readonly location: string;
  /** Bytes that are stored. */
  readonly storedBytes: number;
  /** Bytes of all its files. More than are stored where a download was interrupted. */
  readonly totalBytes: number;
  readonly lastUsed: Date;
}

/**
 * The models in this browser's private file system, the one used last first. None in Node, which has the hub's cache.
 *
 * @example
 * ```ts
 * for (const { name, storedBytes, lastUsed } of await storedModels()) console.log(name, storedBytes, lastUsed);
 * ```
 */
export async function storedModels(): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for (const { folder } of await folders()) {
    const record = await readRecord(folder);
    if (record) models.push(describe(record));
  }
  return models.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
}

/**
 * Deletes a model by the name that it was loaded as, or its location. Waits while it is being loaded; models that have
 * are loaded keep working without their files. → whether there was one
 *
 * @example
 * ```ts
 * const wasStored = await deleteStoredModel('AntonV/mamba2-130m-hf');
 * ```
 */
export async function deleteStoredModel(name: string): Promise<boolean> {
  const location = isUrl(name) ? modelUrl(name) : name;
  let isFound = false;
  for (const { root, folder } of await folders()) {
    const record = await readRecord(folder);
    if (record?.name !== name && record?.location !== location) continue;
    isFound = true;
    await navigator.locks.request(lockOf(folder.name), () => root.removeEntry(folder.name, { recursive: true }));
  }
  return isFound;
}

async function folders(): Promise<{ root: FileSystemDirectoryHandle; folder: FileSystemDirectoryHandle }[]> {
  const root = await storedModelsFolder({ create: false }).catch(() => undefined);
  const found = [];
  for await (const folder of root?.values() ?? []) {
    if (root && folder.kind === 'directory') found.push({ root, folder });
  }
  return found;
}

function describe({ name, location, lastUsed, files }: StoredRecord): StoredModel {
  let storedBytes = 0;
  let totalBytes = 0;
  for (const file of Object.values(files)) {
    if ('isAbsent' in file) continue;
    storedBytes += new ByteRanges(file.ranges).count;
    totalBytes += file.size;
  }
  return { name, location, storedBytes, totalBytes, lastUsed: new Date(lastUsed) };
}
