import type { PromptTokenLogprob, RankedTokenLogprob, TokenLogprob } from '../sample/token-logprob.ts';

/** Rows of the first arrays, and of the last: short lists take little, long ones grow without being copied. */
const FIRST_ROWS = 16;
const MOST_ROWS = 1024;

/** Bytes that a token takes here with `topCount` of the likeliest in its place. */
export function logprobBytes(topCount: number): number {
  return (Int32Array.BYTES_PER_ELEMENT + Float64Array.BYTES_PER_ELEMENT) * (topCount + 1);
}

interface ColumnArrays {
  readonly tokenIds: Int32Array;
  readonly logprobs: Float64Array;
}

/**
 * Tokens with their logprobs and those of the likeliest in their place, in a fifth of the memory that objects take: for
 * lists that may be long. Each look at a token makes its object anew.
 */
export class LogprobColumns implements Iterable<RankedTokenLogprob> {
  /** The token itself, then the likeliest. */
  readonly #width: number;
  readonly #arrays: ColumnArrays[] = [];
  /** Rows left in the last arrays. */
  #room = 0;
  #length = 0;

  /** @param topCount of the likeliest, at most. */
  constructor(topCount: number) {
    this.#width = topCount + 1;
  }

  get length(): number {
    return this.#length;
  }

  push({ tokenId, logprob, topLogprobs = [] }: TokenLogprob & Partial<RankedTokenLogprob>): void {
    const { tokenIds, logprobs } = this.#lastArrays();
    let at = tokenIds.length - this.#room * this.#width;
    tokenIds[at] = tokenId;
    logprobs[at] = logprob;
    for (let i = 0; i < this.#width - 1; i++) {
      at++;
      tokenIds[at] = topLogprobs[i]?.tokenId ?? -1;
      logprobs[at] = topLogprobs[i]?.logprob ?? 0;
    }
    this.#room--;
    this.#length++;
  }

  *[Symbol.iterator](): Generator<RankedTokenLogprob, void> {
    let left = this.#length;
    for (const { tokenIds, logprobs } of this.#arrays) {
      for (let at = 0; at < tokenIds.length && left > 0; at += this.#width, left--) {
        const topLogprobs: TokenLogprob[] = [];
        for (let i = at + 1; i < at + this.#width && tokenIds[i] >= 0; i++) {
          topLogprobs.push({ tokenId: tokenIds[i], logprob: logprobs[i] });
        }
        yield { tokenId: tokenIds[at], logprob: logprobs[at], topLogprobs };
      }
    }
  }

  #lastArrays(): ColumnArrays {
    const last = this.#arrays.at(-1);
    if (last && this.#room > 0) return last;
    const rows = last ? Math.min(2 * (last.tokenIds.length / this.#width), MOST_ROWS) : FIRST_ROWS;
    const length = rows * this.#width;
    const arrays = { tokenIds: new Int32Array(length), logprobs: new Float64Array(length) };
    this.#arrays.push(arrays);
    this.#room = rows;
    return arrays;
  }
}

/** One entry per prompt token, null for the first: there is nothing before it. */
export class PromptLogprobs implements Iterable<PromptTokenLogprob | null> {
  readonly #columns: LogprobColumns;
  readonly #ranks: readonly number[];

  /** @param columns of the tokens after the first. @param ranks of the same. */
  constructor(columns: LogprobColumns, ranks: readonly number[]) {
    this.#columns = columns;
    this.#ranks = ranks;
  }

  get length(): number {
    return this.#columns.length + 1;
  }

  *[Symbol.iterator](): Generator<PromptTokenLogprob | null, void> {
    yield null;
    let i = 0;
    for (const token of this.#columns) yield { ...token, rank: this.#ranks[i++] };
  }
}
