import { IntegrityError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import type { Request, Sequence } from '../request/request.ts';
import type { StateManager } from './state-manager.ts';

/** A sequence's part in the next step. No tokens: the logits that follow it are known already. */
export interface ScheduledWork {
  readonly sequence: Sequence;
  readonly numTokens: number;
  /** Whether they are tokens of a prompt, or of an answer that is computed again. */
  readonly isPrefill: boolean;
  /** Whether it goes on from the token of the step before, which is still running. */
  readonly isAhead: boolean;
  /** Whether the executor chooses the next token. */
  readonly isSampled: boolean;
}

/** A sequence that could not begin, and why. */
export interface FailedSequence {
  readonly sequence: Sequence;
  readonly error: Error;
}

/** Logits that evaluations get in one step: they take memory on both sides. */
const MAX_STEP_LOGITS = 2 ** 22;

/** What limits a step. */
export interface StepLimits {
  readonly maxNumBatchedTokens: number;
  readonly vocabSize: number;
}

/** Who was overtaken or pushed out so often goes before all who were not: nothing waits for good. */
const SETBACKS_TO_SENIORITY = 4;

/**
 * Decides which sequences run and what each does in the next step: decodes first, then prompts that have begun, then
 * those that wait, as long as there are slots, blocks and tokens left. Who begins gets blocks for all tokens that it has,
 * so that no prompt stops half-way for want of one.
 *
 * Who waits goes by priority, then by turn: each group of requests gets one sequence in before any gets its second, and
 * first come is first served. The oldest that waits becomes a senior when others were served before it, or took its
 * place, {@link SETBACKS_TO_SENIORITY} times: seniors go first, in their order, whatever the priorities are, and do not
 * give way to them.
 */
export class Scheduler {
  readonly #states: StateManager;
  #maxNumBatchedTokens: number;
  /** Of those whose logits are all looked at. */
  readonly #maxEvaluatedTokens: number;
  readonly #executorSamples: boolean;
  /** In the order in which they get slots. */
  readonly #waiting: Sequence[] = [];
  /** In the order in which they are served. */
  #running: Sequence[] = [];
  #failures: FailedSequence[] = [];
  /** The latest turn that came: who arrives now gets its first turn with it. */
  #turn = 0;
  #preemptions = 0;

  constructor(states: StateManager, { maxNumBatchedTokens, vocabSize }: StepLimits, executorSamples: boolean) {
    this.#states = states;
    this.#maxNumBatchedTokens = maxNumBatchedTokens;
    this.#maxEvaluatedTokens = Math.max(1, Math.floor(MAX_STEP_LOGITS / vocabSize));
    this.#executorSamples = executorSamples;
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  get preemptions(): number {
    return this.#preemptions;
  }

  /** The turn of who arrives now. */
  get turn(): number {
    return this.#turn;
  }

  /** Sequences that could not begin since the last call. They neither wait nor run. */
  takeFailures(): readonly FailedSequence[] {
    const failures = this.#failures;
    this.#failures = [];
    return failures;
  }

  /** Whether a step would do something. */
  get hasWork(): boolean {
    return this.#running.some(isRunnable) || this.#waiting.some(isRunnable);
  }

  add(sequence: Sequence): void {
    const later = this.#waiting.findLastIndex((other) => compareTurns(other, sequence) <= 0) + 1;
    this.#waiting.splice(later, 0, sequence);
  }

  /** Lets a sequence run with a copy of another's state, or wait its turn where no slot is free. */
  addFork(from: Sequence, to: Sequence): void {
    if (this.#states.fork(from, to)) this.#run(to);
    else this.add(to);
  }

  /** A sequence is over, however it ended. */
  remove(sequence: Sequence): void {
    this.#states.release(sequence);
    removeFrom(this.#running, sequence);
    removeFrom(this.#waiting, sequence);
  }

  /** From now on steps have fewer tokens than this one, for which there was no memory. False: it has one. */
  shrinkSteps(numTokens: number): boolean {
    if (numTokens <= 1) return false;
    this.#maxNumBatchedTokens = Math.min(this.#maxNumBatchedTokens, Math.ceil(numTokens / 2));
    return true;
  }

  /** The states of all that run are lost: they are computed again. */
  restart(): void {
    for (const sequence of [...this.#running]) {
      this.#giveBack(sequence);
      this.add(sequence);
    }
  }

  schedule(): ScheduledWork[] {
    this.#makeRoom();
    this.#growRunning();
    const work: ScheduledWork[] = [];
    let budget = this.#maxNumBatchedTokens;
    let evaluated = this.#maxEvaluatedTokens;
    const take = (sequence: Sequence) => {
      const { wantsPromptLogits } = sequence.request;
      const numTokens = Math.min(this.#chunkOf(sequence), budget, wantsPromptLogits ? evaluated : budget);
      if (numTokens === 0 && !sequence.knownLogits) return;
      const isPrefill = sequence.numComputedTokens < sequence.numPromptTokens || numTokens > 1;
      const isSampled = this.#executorSamples && sequence.canBeSampledByExecutor;
      work.push({ sequence, numTokens, isPrefill, isAhead: false, isSampled });
      budget -= numTokens;
      if (wantsPromptLogits) evaluated -= numTokens;
    };
    const runnable = this.#running.filter(isRunnable);
    for (const sequence of runnable) if (isDecode(sequence)) take(sequence);
    for (const sequence of runnable) if (!isDecode(sequence)) take(sequence);
    while (budget > 0) {
      const sequence = this.#admitNext();
      if (!sequence) break;
      take(sequence);
    }
    if (budget === 0 || evaluated === 0) this.#serveOthersNext(work);
    return work;
  }

  /**
   * The step behind one that is still running, where that one can't change it: all who run are in it with one token each,
   * and go on with the next unless that ends them. undefined: it has to wait, because others could begin, or a state is
   * to be kept first.
   */
  scheduleAhead(current: readonly ScheduledWork[]): ScheduledWork[] | undefined {
    const isAll = current.length === this.#running.filter(isRunnable).length;
    const isSure = ({ sequence, isSampled }: ScheduledWork) =>
      isSampled && sequence.canRunAhead && this.#states.tokensToSnapshot(sequence) > 1 && !sequence.request.isPaused;
    if (!isAll || !current.every(isSure) || this.#couldAdmit()) return undefined;
    const next = current.filter(({ sequence }) => !sequence.isAboutToBeFull);
    const hasBlocks = next.every(({ sequence }) => this.#states.grow(sequence, 1));
    return next.length > 0 && hasBlocks ? next.map((work) => ({ ...work, isAhead: true })) : undefined;
  }

  /** @throws IntegrityError unless slots, books and requests agree. */
  checkIntegrity(requests: Iterable<Request>): void {
    this.#states.checkIntegrity(this.#running);
    const known = new Set([...this.#running, ...this.#waiting]);
    if (known.size !== this.#running.length + this.#waiting.length) {
      throw new IntegrityError('A sequence waits or runs twice.');
    }
    if (this.#waiting.some(({ slot }) => slot !== undefined))
      throw new IntegrityError('A waiting sequence has a slot.');
    let unfinished = 0;
    for (const { sequences } of requests) {
      for (const sequence of sequences) {
        if (sequence.finishReason) continue;
        unfinished++;
        if (!known.has(sequence)) throw new IntegrityError(`An answer to '${sequence.request.id}' was forgotten.`);
      }
    }
    if (unfinished !== known.size) {
      throw new IntegrityError(`${known.size} sequences wait or run for ${unfinished} unfinished answers.`);
    }
  }

  /** Tokens that the sequence could process now: up to the next place for a snapshot. */
  #chunkOf(sequence: Sequence): number {
    return Math.min(sequence.numUncomputedTokens, this.#states.tokensToSnapshot(sequence));
  }

  /** Whether the first who waits could get a slot, be it another's. */
  #couldAdmit(): boolean {
    const next = this.#waiting.find(isRunnable);
    return next !== undefined && (this.#states.numFreeSlots > 0 || this.#victimFor(next) !== undefined);
  }

  /** Gives the first who waits a slot. */
  #admitNext(): Sequence | undefined {
    for (;;) {
      const next = this.#waiting.find(isRunnable);
      if (!next) return undefined;
      try {
        if (!this.#states.acquire(next)) return undefined;
      } catch (error) {
        // What its state or its blocks take may not be there: that is no other sequence's trouble.
        removeFrom(this.#waiting, next);
        this.#failures.push({ sequence: next, error: asError(error) });
        continue;
      }
      removeFrom(this.#waiting, next);
      this.#run(next);
      this.#countOvertaken(next);
      const { request } = next;
      if (request.startedAt === undefined) {
        request.startedAt = performance.now();
        request.numCachedTokens = next.numComputedTokens;
      }
      return next;
    }
  }

  #run(sequence: Sequence): void {
    this.#running.push(sequence);
    this.#turn = Math.max(this.#turn, turnOf(sequence));
  }

  /** Others may have waited longer. The oldest of them counts it. */
  #countOvertaken(admitted: Sequence): void {
    let oldest = admitted;
    for (const waiting of this.#waiting) {
      if (isRunnable(waiting) && compareAges(waiting, oldest) < 0) oldest = waiting;
    }
    if (oldest === admitted) return;
    removeFrom(this.#waiting, oldest);
    oldest.setbacks++;
    this.add(oldest);
  }

  /**
   * Takes slots and blocks from paused sequences, and from those of a lower priority, for those who would wait for them.
   * What a sequence loses is kept as a snapshot, or computed again where there is no memory for it.
   */
  #makeRoom(): void {
    let [planned, plannedBlocks] = [0, 0];
    const wanting = this.#waiting.filter(isRunnable).slice(0, this.#states.numSlots);
    for (const next of wanting) {
      const blocks = this.#states.blocksToStart(next);
      const fits = () =>
        this.#states.numFreeSlots > planned && this.#states.numAvailableBlocks >= plannedBlocks + blocks;
      while (!fits()) {
        const victim = this.#victimFor(next);
        if (!victim) return;
        this.#states.save(victim);
        this.#preempt(victim);
      }
      planned++;
      plannedBlocks += blocks;
    }
  }

  /** Sees that those who run have blocks for their next tokens: where none is left, who is last in turn gives way. */
  #growRunning(): void {
    if (this.#states.numBlocks === 0) return;
    for (const sequence of this.#running.filter(isRunnable).toSorted(compareTurns)) {
      // Nothing is kept of what gives way: it would be dropped again for the block.
      while (sequence.slot !== undefined && !this.#states.grow(sequence)) this.#preempt(this.#lastInTurn() ?? sequence);
    }
  }

  #victimFor({ request }: Sequence): Sequence | undefined {
    const last = this.#lastInTurn();
    if (!last) return undefined;
    const givesWay = last.request.priority > request.priority && !isSenior(last);
    return last.request.isPaused || givesWay ? last : undefined;
  }

  /** Who has to give way first: paused sequences, then who came last. */
  #lastInTurn(): Sequence | undefined {
    const paused = this.#running.find(({ request }) => request.isPaused);
    return paused ?? this.#running.toSorted((a, b) => compareTurns(b, a))[0];
  }

  #giveBack(sequence: Sequence): void {
    this.#states.release(sequence);
    sequence.numComputedTokens = 0;
    sequence.knownLogits = undefined;
    removeFrom(this.#running, sequence);
  }

  #preempt(sequence: Sequence): void {
    this.#giveBack(sequence);
    if (!sequence.request.isPaused) sequence.setbacks++;
    this.add(sequence);
    this.#preemptions++;
  }

  /** Where a step could not take everybody, those whom it left out come first in the next. */
  #serveOthersNext(work: readonly ScheduledWork[]): void {
    const served = new Set(work.map(({ sequence }) => sequence));
    const rank = (sequence: Sequence) => (served.has(sequence) ? 1 : 0);
    this.#running = this.#running.toSorted((a, b) => rank(a) - rank(b));
  }
}

function isRunnable({ request }: Sequence): boolean {
  return !request.isPaused;
}

/** One token to process, as in every step of an answer; the end of a prompt may look the same and costs the same. */
function isDecode({ numUncomputedTokens }: Sequence): boolean {
  return numUncomputedTokens === 1;
}

function isSenior({ setbacks }: Sequence): boolean {
  return setbacks >= SETBACKS_TO_SENIORITY;
}

/** When a sequence's turn comes: later ones of its group and further answers to its prompt have later ones. */
function turnOf({ request, index }: Sequence): number {
  return request.turn + index;
}

/** Below 0: a has its turn before b. */
function compareTurns(a: Sequence, b: Sequence): number {
  const seniority = Number(isSenior(b)) - Number(isSenior(a));
  if (seniority !== 0 || isSenior(a)) return seniority || compareAges(a, b);
  return a.request.priority - b.request.priority || turnOf(a) - turnOf(b) || compareAges(a, b);
}

/** Below 0: a came before b. */
function compareAges(a: Sequence, b: Sequence): number {
  return a.request.order - b.request.order || a.index - b.index;
}

function removeFrom(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence);
  if (at >= 0) list.splice(at, 1);
}
