/** Times of the parts of a run. */
export interface Timings {
  readonly loadSeconds: number;
  readonly promptTokens: number;
  /** Time to the first token. */
  readonly promptSeconds: number;
  readonly completionTokens: number;
  /** Time from the first token to the last. */
  readonly completionSeconds: number;
  /** Rate of the tokens after the first; null if there is only one. */
  readonly tokensPerSecond: number | null;
}

/** Takes the times of a run: load, first token, further tokens. */
export class GenerationTimer {
  readonly #begin = performance.now();
  #loaded = this.#begin;
  #first: number | undefined;
  #last = this.#begin;
  #tokens = 0;

  /** The model is ready. */
  loaded(): void {
    this.#loaded = performance.now();
    this.#last = this.#loaded;
  }

  /** A token came. */
  token(): void {
    this.#last = performance.now();
    this.#first ??= this.#last;
    this.#tokens++;
  }

  timings(promptTokens: number): Timings {
    const first = this.#first ?? performance.now();
    const completionSeconds = this.#tokens > 1 ? (this.#last - first) / 1000 : 0;
    return {
      loadSeconds: (this.#loaded - this.#begin) / 1000,
      promptTokens,
      promptSeconds: (first - this.#loaded) / 1000,
      completionTokens: this.#tokens,
      completionSeconds,
      tokensPerSecond: completionSeconds > 0 ? (this.#tokens - 1) / completionSeconds : null,
    };
  }
}
