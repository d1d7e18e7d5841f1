import { asObject, type JsonObject, parseLenientJson } from '../json/json.ts';
import type { ByteSource } from './byte-source.ts';

/** The files of one model, wherever they lie, by their names in Hugging Face's layout. */
export interface ModelFiles {
  /** The folder, or a GGUF file: a path or a URL. */
  readonly location: string;
  /** Name of a file in messages: its path or URL. */
  nameOf(file: string): string;
  /** A UTF-8 file; undefined when there is none of that name. */
  readText(file: string): Promise<string | undefined>;
  /** A file to read ranges of; undefined when there is none of that name. It is closed with the rest. */
  open(file: string): Promise<ByteSource | undefined>;
  /** Names of all files; none where they can't be listed, as on a static host. */
  list(): Promise<readonly string[]>;
  /** Closes open files. Later reads reject with DisposedError. */
  close(): Promise<void>;
}

/** A JSON object of a file; undefined when there is no such file. Rejects with JsonFileError. */
export async function readJsonFile(files: ModelFiles, file: string): Promise<JsonObject | undefined> {
  const text = await files.readText(file);
  return text === undefined ? undefined : asObject(parseLenientJson(text, files.nameOf(file)), files.nameOf(file));
}
