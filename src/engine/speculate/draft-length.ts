/** Tokens of a guess at the least, unless fewer are asked for: checking one token costs nearly as much as checking these. */
const FEWEST = 5;

/** Tokens in a row that guesses must get right on trial: at first, and at most. */
const SHORTEST_TRIAL = 3;
const LONGEST_TRIAL = 64;

/** Tokens without trials where trials cost time, per token that they take. */
const PAUSE = 16;

/** Tokens that guesses may have saved for those that follow, and how much of it remains after each. */
const MOST_CREDIT = 4;
const FADING = 0.8;

/**
 * How many tokens to guess of one answer. At first guesses are on trial: they are compared with the tokens that come, and none is
 * checked by the model. Once enough in a row were right they count, more of them while they are right. As soon as they cost more
 * than they save they are on trial again, for longer than before.
 */
export class DraftLength {
  readonly #most: number;
  readonly #costOf: (drafted: number) => number;
  #next: number;
  #isOnTrial: boolean;
  #trial = SHORTEST_TRIAL;
  /** Tokens in a row that were right on trial. */
  #streak = 0;
  /** Tokens that the latest guesses have saved. */
  #credit = 0;

  /**
   * @param most tokens to guess at once.
   * @param costOf tokens that a guess of so many must save.
   */
  constructor(most: number, costOf: (drafted: number) => number) {
    this.#most = most;
    this.#costOf = costOf;
    this.#next = Math.min(most, FEWEST);
    this.#isOnTrial = true;
  }

  /** Tokens to guess next; 0 on trial. */
  get next(): number {
    return this.#isOnTrial ? 0 : this.#next;
  }

  get isOnTrial(): boolean {
    return this.#isOnTrial;
  }

  /** A token came that was guessed on trial. */
  compare(isRight: boolean): void {
    this.#streak = isRight ? this.#streak + 1 : 0;
    if (this.#streak >= this.#trial) this.trust();
  }

  /** Tokens after which it is tried again, where trials cost time. */
  get pause(): number {
    return PAUSE * this.#trial;
  }

  /** Ends the trial. */
  trust(): void {
    this.#isOnTrial = false;
    this.#streak = 0;
    this.#credit = 0;
  }

  /** Tells how a guess turned out. */
  record(guessed: number, right: number): void {
    this.#credit = Math.min(MOST_CREDIT, FADING * this.#credit + right - this.#costOf(guessed));
    if (right === guessed) {
      this.#next = Math.min(this.#most, 2 * this.#next);
      this.#trial = Math.max(SHORTEST_TRIAL, this.#trial >> 1);
    } else {
      this.#next = Math.min(this.#most, Math.max(FEWEST, right));
    }
    if (this.#credit >= 0) return;
    this.#isOnTrial = true;
    this.#trial = Math.min(LONGEST_TRIAL, 2 * this.#trial);
    this.#next = Math.min(this.#most, FEWEST);
  }
}
