import { ModelNotFoundError } from '../errors.ts';
import type { ModelFiles } from './files/model-files.ts';
import { UrlFiles } from './files/url-files.ts';
import { presentGguf } from './gguf/gguf-files.ts';
import { isUrl } from './net/urls.ts';
import type { StoredModelOptions } from './stored/files-thread.ts';

/** Options of opening a model's files. */
export interface ModelFilesOptions extends StoredModelOptions {
  /** Keeps what is fetched from a URL in the browser's private file system, where there is one. */
  readonly useBrowserStorage?: boolean | undefined;
}

/** Whether there are folders: in Node, Bun and Deno, not in browsers. */
export function hasFileSystem(): boolean {
  return globalThis.process?.getBuiltinModule?.('node:fs') !== undefined;
}

/**
 * The files in a local folder, or below an http(s) URL; where the location is a GGUF file, those that it stands for.
 * Reads nothing of the model yet.
 */
export async function openModelFiles(location: string, options: ModelFilesOptions = {}): Promise<ModelFiles> {
  return presentGguf(await openFiles(location, options));
}

async function openFiles(location: string, options: ModelFilesOptions): Promise<ModelFiles> {
  if (isUrl(location)) return (await openStored(location, options)) ?? new UrlFiles(location, options);
  if (!hasFileSystem()) {
    throw new ModelNotFoundError(`'${location}' is no URL, and there are no folders here.`, 'Give an http(s) URL.');
  }
  // Imported on demand: browsers can't load it.
  const { FolderFiles } = await import('./files/folder-files.ts');
  return new FolderFiles(location);
}

/** Undefined where models are not to be stored, or can't be. */
async function openStored(location: string, options: ModelFilesOptions): Promise<ModelFiles | undefined> {
  if (!options.useBrowserStorage || hasFileSystem()) return undefined;
  // Imported on demand: Node has no use for it.
  const { canStoreModels, openStoredFiles } = await import('./stored/files-thread.ts');
  return canStoreModels() ? openStoredFiles(location, options) : undefined;
}
