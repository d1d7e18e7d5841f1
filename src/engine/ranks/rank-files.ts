import type { ModelFiles } from '../../checkpoint/files/model-files.ts';
import { answerQuestion, type FileAnswer, type FileQuestion } from '../../checkpoint/files/remote-files.ts';

/** The rank that asked, and the number under which it expects the answer. */
interface Asker {
  readonly rank: number;
  readonly id: number;
}

type BytesQuestion = Extract<FileQuestion, { readonly about: 'bytes' }>;

/** A place in a model's files. Ranks read file after file, each forwards. */
interface Place {
  readonly file: string;
  readonly offset: number;
}

/**
 * Reads the files for all ranks, in the executor's thread. Each rank asks for its own rows, some of which other ranks
 * ask for too, in the order of the files. The reads are merged into that order, so that they go through each file once,
 * forwards, as fetching ahead and servers without ranges need it.
 */
export class RankFileServer {
  readonly #files: ModelFiles;
  readonly #answer: (asker: Asker, answer: FileAnswer, transfer: ArrayBuffer[]) => void;
  /** The earliest place at which each rank that still loads can read next. */
  readonly #reached: Map<number, Place>;
  readonly #waiting = new Map<number, { readonly asker: Asker; readonly question: BytesQuestion }>();
  #isReading = false;

  constructor(
    files: ModelFiles,
    ranks: number,
    answer: (asker: Asker, answer: FileAnswer, transfer: ArrayBuffer[]) => void,
  ) {
    this.#files = files;
    this.#answer = answer;
    this.#reached = new Map(Array.from({ length: ranks }, (_, rank) => [rank, { file: '', offset: 0 }]));
  }

  /** Takes a question; it may be answered only after others have asked theirs. Rejects with what reading rejects with. */
  async ask(asker: Asker, question: FileQuestion): Promise<void> {
    if (question.about !== 'bytes') return this.#answer(asker, await answerQuestion(this.#files, question), []);
    this.#waiting.set(asker.rank, { asker, question });
    return this.#readWaiting();
  }

  /** The rank has loaded and asks for nothing more. */
  async finish(rank: number): Promise<void> {
    this.#reached.delete(rank);
    return this.#readWaiting();
  }

  /** Reads for the rank that is furthest back, as long as no other can still ask for something before that. */
  async #readWaiting(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        const { asker, question } = next;
        const { file, offset, length } = question;
        this.#waiting.delete(asker.rank);
        this.#reached.set(asker.rank, { file, offset: offset + length });
        const bytes = await answerQuestion(this.#files, question);
        this.#answer(asker, bytes, bytes instanceof Uint8Array ? [bytes.buffer] : []);
      }
    } finally {
      this.#isReading = false;
    }
  }

  #next() {
    const waiting = [...this.#waiting.values()];
    const next = waiting.toSorted((a, b) => comparePlaces(a.question, b.question)).at(0);
    if (next === undefined) return undefined;
    const others = [...this.#reached].filter(([rank]) => !this.#waiting.has(rank));
    return others.every(([, place]) => comparePlaces(next.question, place) <= 0) ? next : undefined;
  }
}

/** Compares two places for sorting: below 0 if `a` is before `b`. */
function comparePlaces(a: Place, b: Place): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.offset - b.offset;
}
