/** Number of parts that are joined at a time: V8 keeps each part of a text that only grows by `+=`. */
const PIECES = 512;

/** Text that grows by small parts, and takes little more memory than its characters. */
export class LongText {
  readonly #texts: string[] = [];
  readonly #pieces: string[] = [];

  add(text: string): void {
    this.#pieces.push(text);
    if (this.#pieces.length >= PIECES) this.#texts.push(this.#pieces.splice(0).join(''));
  }

  toString(): string {
    return [...this.#texts, ...this.#pieces].join('');
  }
}
