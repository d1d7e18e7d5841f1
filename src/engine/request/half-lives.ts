import type { LogDecays } from '../run/executor.ts';

/**
 * How long a model remembers, in tokens: per layer with a state and head, after how many tokens like those just read
 * half of what the state holds is gone. Infinity where nothing is lost.
 */
export type HalfLives = readonly Float32Array[];

/** Averages the decay of one sequence's state over the tokens between two reports. */
export class HalfLifeMeter {
  readonly #interval: number;
  /** Tokens of the answer before the next report. */
  #nextAt = 1;
  #heads: readonly number[] = [];
  /** Σ A Δ over the tokens since the last report, for the heads of all layers. */
  #sums = new Float64Array();
  #numTokens = 0;

  /** @param interval tokens of the answer from one report to the next. */
  constructor(interval: number) {
    this.#interval = interval;
  }

  /** @param sums (heads of all layers), over `numTokens` tokens. */
  add(numTokens: number, heads: LogDecays['heads'], sums: Float32Array): void {
    if (this.#sums.length !== sums.length) this.#sums = new Float64Array(sums.length);
    this.#heads = heads;
    this.#numTokens += numTokens;
    for (let i = 0; i < sums.length; i++) this.#sums[i] += sums[i];
  }

  /** The report with the answer's token number `count`, if one is due and tokens were read since the last. */
  report(count: number): HalfLives | undefined {
    if (count < this.#nextAt || this.#numTokens === 0) return undefined;
    // A token multiplies a head's state by exp(A Δ), so n of them by exp(Σ A Δ).
    const all = Float32Array.from(this.#sums, (sum) => (Math.LN2 * this.#numTokens) / Math.abs(sum));
    this.#sums.fill(0);
    this.#numTokens = 0;
    this.#nextAt = count + this.#interval;
    let begin = 0;
    return this.#heads.map((heads) => {
      begin += heads;
      return all.subarray(begin - heads, begin);
    });
  }
}
