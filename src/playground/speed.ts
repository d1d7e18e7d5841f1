/** Measures how fast tokens arrive. */
export class Speed {
  readonly #begin: number;
  #first: number | undefined;
  #last = 0;
  #count = 0;

  /** @param now milliseconds */
  constructor(now: number) {
    this.#begin = now;
  }

  add(now: number): void {
    this.#first ??= now;
    this.#last = now;
    this.#count++;
  }

  /** Tokens per second after the first token; undefined before the second. */
  get tokensPerSecond(): number | undefined {
    if (this.#first === undefined || this.#last === this.#first) return undefined;
    return ((this.#count - 1) * 1000) / (this.#last - this.#first);
  }

  /** Milliseconds from the start to the first token. */
  get firstToken(): number | undefined {
    return this.#first === undefined ? undefined : this.#first - this.#begin;
  }

  /** The speed as a line of text. */
  note(): string {
    const perSecond = this.tokensPerSecond;
    const count = `${this.#count} ${this.#count === 1 ? 'token' : 'tokens'}`;
    return perSecond === undefined ? count : `${count} · ${Math.round(perSecond)} a second`;
  }
}
