import type { WorkerScripts } from '../distributed/worker-scripts.ts';
import { ModelNotFoundError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { asObject, type JsonObject, parseLenientJson } from './json.ts';
import { UrlFiles, type UrlOptions } from './url-files.ts';

/** The files of one model, wherever they lie, by their names in Hugging Face's layout. */
export interface ModelFiles {
  /** The folder, or the URL of one. */
  readonly location: string;
  /** What messages call one of the files. */
  nameOf(file: string): string;
  /** A UTF-8 file; undefined when there is none of that name. */
  readText(file: string): Promise<string | undefined>;
  /** A file to read ranges of; undefined when there is none of that name. It is closed with the rest. */
  open(file: string): Promise<ByteSource | undefined>;
  /** Names of all files; none where they can't be listed, as on a static host. */
  list(): Promise<readonly string[]>;
  /** Releases what is open. Later reads reject with DisposedError. */
  close(): Promise<void>;
}

/** Whether a model's location is a URL rather than a folder. */
export function isUrl(location: string): boolean {
  return /^https?:\/\//i.test(location);
}

/** Whether there are folders: in Node and its like, not in browsers. */
export function hasFileSystem(): boolean {
  return globalThis.process?.getBuiltinModule?.('node:fs') !== undefined;
}

export interface ModelFilesOptions extends UrlOptions {
  /** Keep what is fetched from a URL in the browser's private file system, where there is one. */
  readonly useBrowserStorage?: boolean | undefined;
  /** Where the script of the worker is that does it. */
  readonly workers?: WorkerScripts | undefined;
  /** Read only what is stored there. */
  readonly localFilesOnly?: boolean | undefined;
}

/** The files in a local folder, or below an http(s) URL. Of a model, nothing is read yet. */
export async function openModelFiles(location: string, options: ModelFilesOptions = {}): Promise<ModelFiles> {
  if (isUrl(location)) return (await openStored(location, options)) ?? new UrlFiles(location, options);
  if (!hasFileSystem()) {
    throw new ModelNotFoundError(`'${location}' is no URL, and there are no folders here.`, 'Give an http(s) URL.');
  }
  // Loaded on need: browsers can't.
  const { FolderFiles } = await import('./folder-files.ts');
  return new FolderFiles(location);
}

/** Undefined where models are not to be stored, or can't be. */
async function openStored(location: string, options: ModelFilesOptions): Promise<ModelFiles | undefined> {
  if (!options.useBrowserStorage || hasFileSystem()) return undefined;
  // Loaded on need: Node has no use for it.
  const { canStoreModels, openStoredFiles } = await import('./stored/files-thread.ts');
  return canStoreModels() ? openStoredFiles(location, options) : undefined;
}

/** A JSON object of a file; undefined when there is no such file. Rejects with JsonFileError. */
export async function readJsonFile(files: ModelFiles, file: string): Promise<JsonObject | undefined> {
  const text = await files.readText(file);
  return text === undefined ? undefined : asObject(parseLenientJson(text, files.nameOf(file)), files.nameOf(file));
}
