import { hex, sha256 } from '../../util/sha256.ts';

/** Folder for models in the private file system of an origin. */
const FOLDER = 'mamba2-models';

/**
 * The folder with one folder for each stored model. Rejects where there is no private file system, or none may be used.
 */
export async function storedModelsFolder(options: { create: boolean }): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, options);
}

/** The folder of one model. */
export async function modelFolder(
  root: FileSystemDirectoryHandle,
  location: string,
  options: { create: boolean },
): Promise<FileSystemDirectoryHandle> {
  return root.getDirectoryHandle(await folderName(location), options);
}

/** Deletes the folder of one model. The caller holds the model's lock. */
export async function removeModelFolder(location: string): Promise<void> {
  const root = await storedModelsFolder({ create: false });
  await root.removeEntry(await folderName(location), { recursive: true });
}

/** Name of the Web Lock that is held while a stored model is read, written or deleted. */
export async function modelLock(location: string): Promise<string> {
  return lockOf(await folderName(location));
}

/** The lock of the model in a folder of this name. */
export function lockOf(folder: string): string {
  return `mamba2 model ${folder}`;
}

/** URLs are longer than names of files may be, and have characters that these may not. */
async function folderName(location: string): Promise<string> {
  return hex((await sha256(new TextEncoder().encode(location))).subarray(0, 16));
}
