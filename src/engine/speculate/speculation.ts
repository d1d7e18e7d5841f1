import { DraftLength } from './draft-length.ts';
import { GuessCosts } from './guess-costs.ts';
import { NgramIndex } from './ngram-index.ts';
import { checkSpeculativeConfig, type SpeculativeConfig, type SpeculativeSettings } from './speculative-config.ts';

/** Source of guesses at how one answer continues. */
export interface Drafter {
  /** The likely continuation of a text, of `count` tokens at most. Guesses cost time, but never change an answer. */
  draft(tokenIds: readonly number[], count: number): readonly number[];
  /** Whether guesses cost next to nothing as long as no model checks them. */
  readonly isFree: boolean;
}

/** An answer that would take a guess. */
export interface DraftRequest {
  readonly drafter: Drafter;
  readonly tokenIds: readonly number[];
  /** Tokens to guess, at least one. */
  readonly count: number;
}

/** A model, or anything else, that guesses for many answers. */
export interface DraftSource {
  /** Makes the drafter of an answer. */
  open(): Drafter;
  /** Called before each step with the answers that would take a guess. Never rejects. */
  prepare(requests: readonly DraftRequest[]): Promise<void>;
  dispose(): Promise<void>;
}

/** Guesses of one answer and what became of them. */
export class Speculation {
  readonly drafter: Drafter;
  readonly #length: DraftLength;
  /** The next token, guessed on trial. */
  #expected: number | undefined;
  /** Tokens before the next trial, where trials cost time. */
  #pauseLeft = 0;

  /**
   * @param most tokens to guess at once.
   * @param costs of checking guesses.
   */
  constructor(drafter: Drafter, most: number, costs: GuessCosts) {
    this.drafter = drafter;
    this.#length = new DraftLength(most, (drafted) => costs.costOf(drafted));
    if (!drafter.isFree) this.#length.trust();
  }

  /** Tokens that it would guess now; 0 while guesses are of no use. */
  get wanted(): number {
    return this.#length.next;
  }

  /** A guess at the next tokens. @param limit of their number. */
  draft(tokenIds: readonly number[], limit: number): readonly number[] {
    const count = Math.min(this.wanted, limit);
    return count > 0 ? this.drafter.draft(tokenIds, count) : [];
  }

  /** The answer got a token, the last of these. */
  observe(tokenIds: readonly number[]): void {
    if (!this.#length.isOnTrial) return;
    if (!this.drafter.isFree) {
      this.#pauseLeft--;
      if (this.#pauseLeft <= 0) this.#length.trust();
      return;
    }
    if (this.#expected !== undefined) this.#length.compare(this.#expected === tokenIds.at(-1));
    this.#expected = this.#length.isOnTrial ? this.drafter.draft(tokenIds, 1)[0] : undefined;
  }

  /** @param accepted tokens of the guess that were right, from the first on. */
  record(drafted: number, accepted: number): void {
    this.#length.record(drafted, accepted);
    if (this.#length.isOnTrial) this.#pauseLeft = this.#length.pause;
  }
}

/** Begins the guesses of answers. */
export class Speculations {
  readonly costs = new GuessCosts();
  readonly #settings: SpeculativeSettings;
  readonly #source: DraftSource | undefined;

  /**
   * @param source of guesses other than the text itself.
   * @throws ArgumentError
   */
  constructor(config: SpeculativeConfig, source?: DraftSource) {
    this.#settings = checkSpeculativeConfig(config);
    this.#source = source;
  }

  /** Undefined where none are to be made. @param wanted tokens at once, as the answer's request wants it. */
  begin(wanted = this.#settings.numSpeculativeTokens): Speculation | undefined {
    const most = Math.min(wanted, this.#settings.numSpeculativeTokens);
    const drafter = most === 0 ? undefined : this.#open();
    return drafter && new Speculation(drafter, most, this.costs);
  }

  #open(): Drafter | undefined {
    if (this.#source) return this.#source.open();
    return this.#settings.method === 'ngram' ? ngramDrafter(this.#settings) : undefined;
  }
}

function ngramDrafter({ promptLookupMin: min, promptLookupMax: max }: NgramLengths): Drafter {
  const index = new NgramIndex({ min, max });
  return { isFree: true, draft: (tokenIds, count) => index.continuation(tokenIds, count) };
}

interface NgramLengths {
  readonly promptLookupMin: number;
  readonly promptLookupMax: number;
}
