/**
 * Prints several answers that are generated at the same time: the first as it comes, each other after the one before
 * it.
 */
export class AnswerPrinter {
  readonly #count: number;
  readonly #print: (text: string) => Promise<void>;
  /** Texts of later answers. */
  readonly #waiting: string[];
  readonly #finished = new Set<number>();
  #current = -1;

  constructor(count: number, print: (text: string) => Promise<void>) {
    this.#count = count;
    this.#print = print;
    this.#waiting = Array.from({ length: count }, () => '');
  }

  /** A piece of an answer, and whether it is its last. */
  async write(index: number, text: string, isLast: boolean): Promise<void> {
    if (isLast) this.#finished.add(index);
    this.#waiting[index] += text;
    if (this.#current < 0) await this.#next();
    await this.#flush();
    while (this.#finished.has(this.#current) && this.#current + 1 < this.#count) await this.#next();
  }

  /** Prints what waits of answers that were broken off. */
  async end(): Promise<void> {
    while (this.#current + 1 < this.#count) await this.#next();
  }

  async #next(): Promise<void> {
    this.#current++;
    const gap = this.#current > 0 ? '\n\n' : '';
    if (this.#count > 1) await this.#print(`${gap}--- answer ${this.#current + 1} of ${this.#count} ---\n`);
    await this.#flush();
  }

  async #flush(): Promise<void> {
    const text = this.#waiting[this.#current];
    this.#waiting[this.#current] = '';
    await this.#print(text);
  }
}
