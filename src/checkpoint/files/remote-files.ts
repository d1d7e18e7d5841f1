import { IntegrityError } from '../../errors.ts';
import { fileUrl } from '../net/urls.ts';
import type { ByteSource } from './byte-source.ts';
import type { ModelFiles } from './model-files.ts';

/** A question about files that another thread reads. */
export type FileQuestion =
  | { readonly about: 'text'; readonly file: string }
  | { readonly about: 'size'; readonly file: string }
  | { readonly about: 'bytes'; readonly file: string; readonly offset: number; readonly length: number };

/** Text, a size, or bytes; undefined where there is no such file. */
export type FileAnswer = string | number | Uint8Array<ArrayBuffer> | undefined;

/** Files that another thread reads: each read is a question. */
export class RemoteFiles implements ModelFiles {
  readonly location: string;
  readonly #ask: (question: FileQuestion) => Promise<FileAnswer>;

  /** @param location URL of the folder, or of a GGUF file. */
  constructor(location: string, ask: (question: FileQuestion) => Promise<FileAnswer>) {
    this.location = location;
    this.#ask = ask;
  }

  nameOf(file: string): string {
    return fileUrl(this.location, file);
  }

  async readText(file: string): Promise<string | undefined> {
    const answer = await this.#ask({ about: 'text', file });
    return typeof answer === 'string' ? answer : undefined;
  }

  async open(file: string): Promise<ByteSource | undefined> {
    const size = await this.#ask({ about: 'size', file });
    if (typeof size !== 'number') return undefined;
    const name = this.nameOf(file);
    const read = async (offset: number, length: number) => {
      const bytes = await this.#ask({ about: 'bytes', file, offset, length });
      if (bytes instanceof Uint8Array) return bytes;
      throw new IntegrityError(`The thread that reads '${name}' returned no bytes.`);
    };
    return { name, size, read, close: async () => {} };
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {}
}

/** Answers one question from files that this thread reads. */
export async function answerQuestion(files: ModelFiles, question: FileQuestion): Promise<FileAnswer> {
  switch (question.about) {
    case 'text':
      return files.readText(question.file);
    case 'size':
      return (await files.open(question.file))?.size;
    case 'bytes':
      return (await files.open(question.file))?.read(question.offset, question.length);
  }
}
