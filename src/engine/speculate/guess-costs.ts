/** Measurements that count: the last ones, of which the median is taken. */
const REMEMBERED = 9;

/** Cost of checking one more guessed token, in those of checking any. */
const PER_TOKEN = 0.1;

/** Scales beyond these are errors of measurement. */
const [LEAST, MOST] = [0.1, 8];

/** Steps without guesses after which measurements no longer count: guesses that could not pay then may now. */
const STALE = 1024;

/** A sequence's part in a step, as far as guesses are concerned. */
export interface ScheduledGuess {
  readonly isPrefill: boolean;
  readonly numTokens: number;
  readonly drafts: readonly number[];
}

/** What a step took, in seconds. */
export interface StepTime {
  readonly seconds: number;
  /** The part of it that went into making guesses. */
  readonly drafting: number;
}

/**
 * What checking a guess costs: in tokens that steps without guesses give in the same time. It follows from the times of steps with
 * guesses and without, and is of the form scale * (1 + a tenth for each guessed token).
 */
export class GuessCosts {
  /** Seconds of steps without guesses, by their number of sequences. */
  readonly #plain = new Map<number, Recent>();
  #scale = new Recent();
  /** Sequences of the last step that counts. */
  #size = 0;
  /** Steps without guesses since the last with some. */
  #plainSteps = 0;

  /** Tokens that a guess of so many must save. */
  costOf(drafted: number): number {
    // Until it is known: what it costs where reading the weights takes most of the time.
    return (this.#scale.median ?? 1) * shapeOf(drafted);
  }

  /** Whether a guess of so many could save more than it costs. Until it is known, that is tried. */
  canPay(drafted: number): boolean {
    return this.#scale.median === undefined || this.costOf(drafted) < drafted;
  }

  /** Whether steps like the last are to be measured without guesses first. */
  get lacksPlainSteps(): boolean {
    return this.#plain.get(this.#size)?.median === undefined;
  }

  /** Takes note of a step, unless it has a part of a prompt. */
  step(scheduled: readonly ScheduledGuess[], { seconds, drafting }: StepTime): void {
    if (scheduled.length === 0 || scheduled.some(({ isPrefill, numTokens }) => isPrefill || numTokens === 0)) return;
    this.#size = scheduled.length;
    const plain = this.#plain.get(scheduled.length) ?? new Recent();
    this.#plain.set(scheduled.length, plain);
    const shape = scheduled.reduce((sum, { drafts }) => sum + (drafts.length > 0 ? shapeOf(drafts.length) : 0), 0);
    this.#plainSteps = shape === 0 ? this.#plainSteps + 1 : 0;
    if (this.#plainSteps >= STALE) {
      this.#scale = new Recent();
      this.#plainSteps = 0;
    }
    if (shape === 0) {
      plain.push(seconds - drafting);
    } else if (plain.median !== undefined && plain.median > 0) {
      const lostTokens = (scheduled.length * (seconds - plain.median)) / plain.median;
      this.#scale.push(Math.min(MOST, Math.max(LEAST, lostTokens / shape)));
    }
  }
}

function shapeOf(drafted: number): number {
  return 1 + PER_TOKEN * drafted;
}

/** The last of some numbers. */
class Recent {
  readonly #values: number[] = [];

  push(value: number): void {
    this.#values.push(value);
    if (this.#values.length > REMEMBERED) this.#values.shift();
  }

  /** Undefined before there are a few. */
  get median(): number | undefined {
    const { length } = this.#values;
    return length < 3 ? undefined : this.#values.toSorted((a, b) => a - b)[length >> 1];
  }
}
