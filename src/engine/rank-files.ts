import type { ByteSource } from '../checkpoint/byte-source.ts';
import type { ModelFiles } from '../checkpoint/model-files.ts';
import { RankFailedError } from '../errors.ts';

/** What a rank asks about files that another thread reads. */
export type FileQuestion =
  | { readonly about: 'text'; readonly file: string }
  | { readonly about: 'size'; readonly file: string }
  | { readonly about: 'bytes'; readonly file: string; readonly offset: number; readonly length: number };

/** Text, a size, or bytes; undefined where there is no such file. */
export type FileAnswer = string | number | Uint8Array<ArrayBuffer> | undefined;

/** On a rank: files that are asked for. */
export class RankFiles implements ModelFiles {
  readonly location: string;
  readonly #ask: (question: FileQuestion) => Promise<FileAnswer>;

  constructor(location: string, ask: (question: FileQuestion) => Promise<FileAnswer>) {
    this.location = location;
    this.#ask = ask;
  }

  nameOf(file: string): string {
    return `${this.location}${file}`;
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
      throw new RankFailedError(`A rank asked for bytes of '${name}' and got none.`);
    };
    return { name, size, read, close: async () => {} };
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {}
}

/** Who asked, to be answered under this number. */
interface Asker {
  readonly rank: number;
  readonly id: number;
}

/** In the thread of the executor: reads what ranks ask for, once for all of them. */
export class RankFileServer {
  readonly #files: ModelFiles;
  readonly #ranks: number;
  readonly #answer: (asker: Asker, answer: FileAnswer, transfer: ArrayBuffer[]) => void;
  readonly #asked = new Map<string, Asker[]>();

  constructor(
    files: ModelFiles,
    ranks: number,
    answer: (asker: Asker, answer: FileAnswer, transfer: ArrayBuffer[]) => void,
  ) {
    this.#files = files;
    this.#ranks = ranks;
    this.#answer = answer;
  }

  /**
   * Reads when the last rank has asked: all ask for the same in the same order, so none runs ahead and nothing has to be
   * kept for a slow one. Rejects with what reading rejects with.
   */
  async ask(asker: Asker, question: FileQuestion): Promise<void> {
    const key = JSON.stringify(question);
    const askers = [...(this.#asked.get(key) ?? []), asker];
    this.#asked.set(key, askers);
    if (askers.length < this.#ranks) return;
    this.#asked.delete(key);
    const answer = await this.#read(question);
    askers.forEach((each, i) => {
      // All but the last get a copy.
      const isLast = i === askers.length - 1;
      this.#answer(each, answer, isLast && answer instanceof Uint8Array ? [answer.buffer] : []);
    });
  }

  async #read(question: FileQuestion): Promise<FileAnswer> {
    if (question.about === 'text') return this.#files.readText(question.file);
    const source = await this.#files.open(question.file);
    return question.about === 'size' ? source?.size : source?.read(question.offset, question.length);
  }
}
