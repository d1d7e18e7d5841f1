const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;

/** Whether a store that has failed is asked again: after a pause, which doubles from failure to failure. */
export class Outage {
  readonly #now: () => number;
  #pause = 0;
  #until = Number.NEGATIVE_INFINITY;

  /** @param now time in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get isOver(): boolean {
    return this.#now() >= this.#until;
  }

  /** @returns milliseconds of the pause that begins; undefined while one lasts already. */
  begin(): number | undefined {
    if (!this.isOver) return undefined;
    this.#pause = Math.min(Math.max(2 * this.#pause, FIRST_PAUSE), LONGEST_PAUSE);
    this.#until = this.#now() + this.#pause;
    return this.#pause;
  }

  end(): void {
    this.#pause = 0;
    this.#until = Number.NEGATIVE_INFINITY;
  }
}
