import { readFile } from 'node:fs/promises';
import { JsonFileError } from '../../errors.ts';
import { asObject, type JsonObject, parseLenientJson } from './json.ts';

/** Reads a JSON object from a file; undefined when there is no such file. Rejects with JsonFileError. */
export async function readJsonObject(path: string): Promise<JsonObject | undefined> {
  const text = await readText(path);
  return text === undefined ? undefined : asObject(parseLenientJson(text, path), path);
}

/** Reads a UTF-8 file; undefined when there is no such file. Rejects with JsonFileError when it can't be read. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new JsonFileError(`Can't read ${path}: ${message}.`, 'Check the permissions.', { cause });
  }
}
