/** Places with the same last tokens that are compared at most, the latest first. */
const MOST_COMPARED = 32;

/** Lengths of the runs of tokens that are looked up. */
export interface LookupLengths {
  /** Tokens at the end that must have come before. */
  readonly min: number;
  /** Tokens beyond which a longer match counts no more. */
  readonly max: number;
}

/**
 * Where runs of tokens have come before in a text that grows: a guess at what follows is what followed there
 * (prompt lookup). Of several places the one whose tokens before agree the furthest is taken, of equals the latest.
 */
export class NgramIndex {
  readonly #lengths: LookupLengths;
  /** By a hash of `min` tokens, the position after the latest of them. */
  readonly #latest = new Map<number, number>();
  /** For each position, the one before with the same hash; 0: there is none. */
  readonly #before: number[] = [];

  constructor(lengths: LookupLengths) {
    this.#lengths = lengths;
  }

  /**
   * The likely continuation of the text, of `count` tokens; none where its end has not come before.
   * @param tokenIds those of the last call, and further ones.
   */
  continuation(tokenIds: readonly number[], count: number): number[] {
    const { length } = tokenIds;
    if (count <= 0 || length <= this.#lengths.min) return [];
    this.#index(tokenIds);
    const from = this.#bestMatch(tokenIds);
    if (from === undefined) return [];
    const draft: number[] = [];
    // A text that repeats itself continues to do so: after its end comes the draft.
    for (let i = 0; i < count; i++) draft.push(tokenIds[from + i] ?? draft[from + i - length]);
    return draft;
  }

  /** Adds all positions but the last, which nothing follows yet. */
  #index(tokenIds: readonly number[]): void {
    for (let end = this.#before.length; end < tokenIds.length; end++) {
      const hash = this.#hash(tokenIds, end);
      this.#before.push(hash === undefined ? 0 : (this.#latest.get(hash) ?? 0));
      if (hash !== undefined) this.#latest.set(hash, end);
    }
  }

  #bestMatch(tokenIds: readonly number[]): number | undefined {
    const { min, max } = this.#lengths;
    const end = tokenIds.length;
    const hash = this.#hash(tokenIds, end);
    let place = hash === undefined ? 0 : (this.#latest.get(hash) ?? 0);
    let best: number | undefined;
    let longest = min - 1;
    for (let compared = 0; place > 0 && compared < MOST_COMPARED && longest < max; compared++) {
      let agreed = 0;
      while (agreed < max && agreed < place && tokenIds[place - 1 - agreed] === tokenIds[end - 1 - agreed]) agreed++;
      if (agreed > longest) [best, longest] = [place, agreed];
      place = this.#before[place];
    }
    return best;
  }

  /** Hash of the `min` tokens before a position; undefined where there are fewer. Other tokens may have the same. */
  #hash(tokenIds: readonly number[], end: number): number | undefined {
    const { min } = this.#lengths;
    if (end < min) return undefined;
    let hash = 0;
    for (let i = end - min; i < end; i++) hash = (Math.imul(hash, 0x9e3779b1) + tokenIds[i] + 1) | 0;
    return hash;
  }
}
