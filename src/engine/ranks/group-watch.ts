import type { JoinState } from '../../backends/cuda/nccl/nccl-place.ts';
import { RankFailedError } from '../../errors.ts';

/** Seconds that a step of several GPUs may take, unless the environment says otherwise. */
const DEFAULT_SECONDS = 60;
/** Milliseconds in which a rank that is alive answers. */
const ANSWER_MILLISECONDS = 5000;

export interface GroupWatchEvents {
  /** Asks a rank for a sign of life, which is to be told to {@link GroupWatch.answered}. */
  readonly ask: (rank: number) => void;
  /** Called once, with an error that names the ranks that hang. */
  readonly onHang: (error: RankFailedError) => void;
}

/**
 * Notices that ranks with GPUs hang, which they do not tell: one that stands still leaves the others waiting for it. A step
 * that takes too long has all ranks asked for a sign of life, which those that only wait can give.
 */
export class GroupWatch {
  readonly #size: number;
  readonly #milliseconds: number;
  readonly #events: GroupWatchEvents;
  readonly #states: Record<JoinState, Set<number>> = { joining: new Set(), joined: new Set() };
  readonly #alive = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  /** Steps under way. */
  #steps = 0;

  /** @param milliseconds that a step may take. Default: 1000 times the environment's MAMBA2_NCCL_TIMEOUT, or a minute. */
  constructor(size: number, events: GroupWatchEvents, milliseconds = timeLimit()) {
    this.#size = size;
    this.#events = events;
    this.#milliseconds = milliseconds;
  }

  /** A rank's state on the way into the group. The time of all begins when the last one is about to join. */
  joins(rank: number, state: JoinState): void {
    const { joining, joined } = this.#states;
    this.#states[state].add(rank);
    if (joined.size === this.#size) this.stop();
    else if (joining.size === this.#size && state === 'joining') this.#start(() => this.#failJoining());
  }

  /** A step begins. Those before it may be under way. */
  begin(): void {
    this.#steps++;
    this.#start(() => this.#askAll());
  }

  /** A step has ended. */
  end(): void {
    this.#steps--;
    if (this.#steps > 0) this.#start(() => this.#askAll());
    else this.stop();
  }

  /** Nothing more is to be watched. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  /** A rank has given a sign of life. */
  answered(rank: number): void {
    this.#alive.add(rank);
  }

  #start(onLate: () => void, milliseconds = this.#milliseconds): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(onLate, milliseconds);
  }

  #failJoining(): void {
    const missing = this.#others(this.#states.joined);
    this.#fail(`${named(missing)} found no way to the others' GPUs`);
  }

  #askAll(): void {
    this.#alive.clear();
    for (let rank = 0; rank < this.#size; rank++) this.#events.ask(rank);
    this.#start(() => this.#failStep(), Math.min(this.#milliseconds, ANSWER_MILLISECONDS));
  }

  #failStep(): void {
    const silent = this.#others(this.#alive);
    if (silent.length > 0) this.#fail(`${named(silent)} hung in a step`);
    else this.#fail("The ranks' GPUs have not finished a step");
  }

  #fail(problem: string): void {
    this.#events.onHang(
      new RankFailedError(
        `${problem}, for ${this.#milliseconds / 1000} s.`,
        'NCCL_DEBUG=WARN has NCCL say more; MAMBA2_NCCL_TIMEOUT is the number of seconds. Load the model again.',
      ),
    );
  }

  #others(some: ReadonlySet<number>): number[] {
    return Array.from({ length: this.#size }, (_, rank) => rank).filter((rank) => !some.has(rank));
  }
}

function named(ranks: readonly number[]): string {
  if (ranks.length === 1) return `Rank ${ranks[0]}`;
  return `Ranks ${ranks.slice(0, -1).join(', ')} and ${ranks[ranks.length - 1]}`;
}

function timeLimit(): number {
  const seconds = Number(process.env.MAMBA2_NCCL_TIMEOUT);
  return 1000 * (seconds > 0 ? seconds : DEFAULT_SECONDS);
}
