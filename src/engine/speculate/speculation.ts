import { DraftLength, TrialLengths } from './draft-length.ts';
import { GuessCosts } from './guess-costs.ts';
import { NgramIndex } from './ngram-index.ts';
import { checkSpeculativeConfig, type SpeculativeConfig, type SpeculativeSettings } from './speculative-config.ts';

/** Steps without a guess after which it is on trial again: as long as guesses are wanted, no step begins ahead of the last one. */
const MOST_WITHOUT = 8;

/** Tokens after which it is tried again then, where trials cost time. */
const SHORT_PAUSE = 2 * MOST_WITHOUT;

/** Source of guesses at how one answer continues. */
export interface Drafter {
  /** The likely continuation of a text, of `count` tokens at most. Guesses cost time, but never change an answer. */
  draft(tokenIds: readonly number[], count: number): readonly number[];
  /** Whether guesses cost next to nothing as long as no model checks them. */
  readonly isFree: boolean;
  /** Whether it makes none any more. */
  readonly hasFailed?: boolean;
}

/** An answer that would take a guess. */
export interface DraftRequest {
  readonly drafter: Drafter;
  readonly tokenIds: readonly number[];
  /** Tokens to guess, at least one. */
  readonly count: number;
  /** Where the state of all tokens but the last is, with blocks for the guess: for a source that reads it. */
  readonly place?: DraftPlace | undefined;
}

/** An answer's state. */
export interface DraftPlace {
  readonly slot: number;
  readonly numComputedTokens: number;
  readonly blocks: readonly number[];
}

/** A model, or anything else, that guesses for many answers. */
export interface DraftSource {
  /** Makes the drafter of an answer. */
  open(): Drafter;
  /** Whether it reads the states of the answers, whose places requests have then. Default: false. */
  readonly readsStates?: boolean | undefined;
  /** Called before each step with the answers that would take a guess. Rejects only where the engine's own executor fails. */
  prepare(requests: readonly DraftRequest[]): Promise<void>;
  dispose(): Promise<void>;
}

/** Guesses of one answer and what became of them. */
export class Speculation {
  readonly drafter: Drafter;
  readonly #length: DraftLength;
  readonly #costs: GuessCosts;
  /** The next token, guessed on trial. */
  #expected: number | undefined;
  /** Tokens before the next trial, where trials cost time. */
  #pauseLeft = 0;
  /** Steps since the last guess that would have taken one. */
  #withoutDraft = 0;

  /**
   * @param most tokens to guess at once.
   * @param costs of checking guesses.
   * @param trials of other answers.
   */
  constructor(drafter: Drafter, most: number, costs: GuessCosts, trials = new TrialLengths()) {
    this.drafter = drafter;
    this.#costs = costs;
    this.#length = new DraftLength(most, costs, trials);
    if (!drafter.isFree) this.#length.trust();
  }

  /** Tokens that it would guess now; 0 while guesses are of no use. */
  get wanted(): number {
    const { hasFailed, isFree } = this.drafter;
    // Guesses on trial cost nothing, and leave steps to compare with.
    if (hasFailed || (!isFree && this.#costs.lacksPlainSteps)) return 0;
    return this.#length.next;
  }

  /** A guess at the next tokens. @param limit of their number. */
  draft(tokenIds: readonly number[], limit: number): readonly number[] {
    const { wanted } = this;
    if (wanted === 0) return [];
    const count = Math.min(wanted, limit);
    const drafts = count > 0 && this.#costs.canPay(count) ? this.drafter.draft(tokenIds, count) : [];
    this.#withoutDraft = drafts.length > 0 ? 0 : this.#withoutDraft + 1;
    if (this.#withoutDraft >= MOST_WITHOUT) {
      this.#withoutDraft = 0;
      this.#pauseLeft = SHORT_PAUSE;
      this.#length.doubt();
    }
    return drafts;
  }

  /** The answer got a token, the last of these. */
  observe(tokenIds: readonly number[]): void {
    if (!this.#length.isOnTrial) return;
    if (!this.drafter.isFree) {
      this.#pauseLeft--;
      if (this.#pauseLeft <= 0) this.#length.trust();
      return;
    }
    this.#length.compare(this.#expected === tokenIds.at(-1));
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
  readonly #trials = new TrialLengths();
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
    return drafter && new Speculation(drafter, most, this.costs, this.#trials);
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
