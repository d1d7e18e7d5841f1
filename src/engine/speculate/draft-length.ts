import type { GuessCosts } from './guess-costs.ts';

/** Tokens of a guess at the least, unless fewer are asked for: checking one token costs nearly as much as checking these. */
const FEWEST = 5;

/** Tokens in a row that guesses must get right on trial: at first, and at most. */
const SHORTEST_TRIAL = 3;
const LONGEST_TRIAL = 64;

/** Tokens of an answer's first trial at most: other answers may have been harder to guess. */
const LONGEST_FIRST_TRIAL = 16;

/** Tokens without trials where trials cost time, per token that they take. */
const PAUSE = 16;

/** Tokens that guesses may have saved for those that follow, and how much of it remains after each. */
const MOST_CREDIT = 4;
const FADING = 0.8;

/** How long the trials of answers are: one begins with what the latest trial of others took. */
export class TrialLengths {
  #latest = SHORTEST_TRIAL;

  /** Tokens that guesses must get right at first. */
  get first(): number {
    return Math.min(this.#latest, LONGEST_FIRST_TRIAL);
  }

  /** Takes note of an answer's. */
  learn(trial: number): void {
    this.#latest = trial;
  }
}

/**
 * How many tokens to guess of one answer. At first guesses are on trial: they are compared with the tokens that come, and none is
 * checked by the model. Once enough in a row were right they count, more of them while they are right. As soon as they cost more
 * than they save they are on trial again, for longer than before. No guess is made that could not pay if all of it were right.
 */
export class DraftLength {
  readonly #most: number;
  readonly #costs: GuessCosts;
  readonly #trials: TrialLengths;
  #next: number;
  #isOnTrial: boolean;
  #trial: number;
  /** Tokens in a row that were right on trial. */
  #streak = 0;
  /** Tokens that the latest guesses have saved. */
  #credit = 0;

  /**
   * @param most tokens to guess at once.
   * @param costs of checking guesses.
   * @param trials of all answers.
   */
  constructor(most: number, costs: GuessCosts, trials: TrialLengths) {
    this.#most = most;
    this.#costs = costs;
    this.#trials = trials;
    this.#trial = trials.first;
    this.#next = Math.min(most, FEWEST);
    this.#isOnTrial = true;
  }

  /** Tokens to guess next; 0 on trial, and where they can't pay. */
  get next(): number {
    return this.#isOnTrial || !this.#costs.canPay(this.#next) ? 0 : this.#next;
  }

  get isOnTrial(): boolean {
    return this.#isOnTrial;
  }

  /** A token came on trial. @param isRight whether it was guessed. */
  compare(isRight: boolean): void {
    this.#streak = isRight ? this.#streak + 1 : 0;
    if (this.#streak >= this.#trial && this.#costs.canPay(this.#next)) this.trust();
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

  /** Begins a trial, as long as the last. */
  doubt(): void {
    this.#isOnTrial = true;
    this.#streak = 0;
    this.#next = Math.min(this.#most, FEWEST);
  }

  /** Tells how a guess turned out. */
  record(guessed: number, right: number): void {
    const isRight = right === guessed;
    // It was cut short, so it tells nothing of a whole one.
    if (isRight && guessed < this.#next) return;
    this.#credit = Math.min(MOST_CREDIT, FADING * this.#credit + right - this.#costs.costOf(guessed));
    this.#next = Math.min(this.#most, isRight ? 2 * this.#next : Math.max(FEWEST, right));
    if (this.#credit < 0) {
      this.#trial = Math.min(LONGEST_TRIAL, 2 * this.#trial);
      this.doubt();
    } else if (isRight) {
      this.#trial = Math.max(SHORTEST_TRIAL, this.#trial >> 1);
    }
    this.#trials.learn(this.#trial);
  }
}
