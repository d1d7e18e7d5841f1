import { readFile } from 'node:fs/promises';
import { Mamba2Error } from '../../errors.ts';

/** A file that was named on the command line can't be read, or is no text. */
export class TextFileError extends Mamba2Error {
  readonly code = 'text_file';
}

/** The text of a UTF-8 file, a byte order mark included: every byte counts. Rejects with TextFileError. */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    const problem = cause.code === 'ENOENT' ? 'there is no such file' : cause.message;
    throw new TextFileError(`Can't read '${path}': ${problem}.`, '', { cause });
  });
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new TextFileError(`'${path}' is not UTF-8 text.`, 'Convert it first.', { cause });
  }
}
