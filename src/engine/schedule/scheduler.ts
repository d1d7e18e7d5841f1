import { IntegrityError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import type { Request, Sequence } from '../request/request.ts';
import type { DraftRequest } from '../speculate/speculation.ts';
import type { StateManager } from './state-manager.ts';

/** A sequence's part in the next step. No tokens: the logits that follow it are known already. */
export interface ScheduledWork {
  readonly sequence: Sequence;
  /** Tokens before those of this step. */
  readonly begin: number;
  readonly numTokens: number;
  /** Tokens that are guessed to follow these, and processed with them. */
  readonly drafts: readonly number[];
  /** Whether they are tokens of a prompt, or of an answer that is computed again. */
  readonly isPrefill: boolean;
  /** Whether it continues from the token of the step before, which is still running. */
  readonly isAhead: boolean;
  /** Whether the executor chooses the next token, and the one after each guess. */
  readonly isSampled: boolean;
  /** Whether it gives the logits besides. */
  readonly givesLogits: boolean;
}

/** A sequence that could not begin, and why. */
export interface FailedSequence {
  readonly sequence: Sequence;
  readonly error: Error;
}

/** Logits that evaluations get in one step, and those that guesses do: they take memory on both sides. */
const MAX_STEP_LOGITS = 2 ** 22;

/** Limits of a step. */
export interface StepLimits {
  readonly maxNumBatchedTokens: number;
  readonly vocabSize: number;
  /** Steps that the executor works on at the same time. Default: 1. */
  readonly maxConcurrentBatches?: number | undefined;
  /** Prompts are divided at multiples of so many tokens, unless a step has fewer. Default: 1. */
  readonly promptAlignment?: number | undefined;
}

/** A sequence that was overtaken or pre-empted this often precedes all others, so that nothing waits forever. */
const SETBACKS_TO_SENIORITY = 4;

/**
 * Decides which sequences run and what each does in the next step: decodes first, then prompts that have begun, then
 * those that wait, as long as there are slots, blocks and tokens left. A sequence that starts gets blocks for all its
 * tokens, so that no prompt stops half-way because blocks ran out.
 *
 * Waiting sequences are ordered by priority, then by turn: each group of requests gets one sequence in before any gets
 * its second, first come, first served. The oldest waiting sequence becomes a senior when others were served before it,
 * or took its place, {@link SETBACKS_TO_SENIORITY} times. Seniors go first, in their order: no priority passes them.
 */
export class Scheduler {
  readonly #states: StateManager;
  #maxNumBatchedTokens: number;
  /** Limit for the tokens of a step whose logits are all read, and for those that are guessed. */
  readonly #maxEvaluatedTokens: number;
  readonly #executorSamples: boolean;
  readonly #maxConcurrentBatches: number;
  readonly #promptAlignment: number;
  /** Tokens that steps under way process of each sequence, when the next step is scheduled. */
  #underWay: ReadonlyMap<Sequence, number> = new Map();
  /** Sequences without a slot, in the order in which they get one. */
  readonly #waiting: Sequence[] = [];
  /** Sequences with a slot, in the order in which they are served. */
  #running: Sequence[] = [];
  #failures: FailedSequence[] = [];
  /** Number of the step in which guesses of a sequence had room last. */
  readonly #guessedIn = new WeakMap<Sequence, number>();
  #numGuessingSteps = 0;
  /** The latest turn that came. A new request starts with it. */
  #turn = 0;
  #preemptions = 0;

  constructor(states: StateManager, limits: StepLimits, executorSamples: boolean) {
    const { maxNumBatchedTokens, vocabSize, maxConcurrentBatches = 1, promptAlignment = 1 } = limits;
    this.#states = states;
    this.#maxConcurrentBatches = maxConcurrentBatches;
    this.#promptAlignment = promptAlignment;
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

  /** First turn of a request that arrives now. */
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
    return this.#running.some(isUnpaused) || this.#waiting.some(isUnpaused);
  }

  /**
   * Asks for the masks that answers lack. Resolves when those that the next step needs before it begins are there; undefined if it
   * needs none.
   */
  requestMasks(): Promise<unknown> | undefined {
    const pending = this.#running.filter((sequence) => isUnpaused(sequence) && sequence.isMaskPending);
    const ready = pending.map((sequence) => [sequence, sequence.maskReady()] as const);
    const needed = ready.filter(([sequence]) => !this.#isRunnable(sequence));
    return needed.length === 0 ? undefined : Promise.all(needed.map(([, promise]) => promise));
  }

  /**
   * Guesses that the next step would take.
   * @param withPlaces whether their source reads the states of answers: those whose guesses have no room get none.
   */
  draftRequests(withPlaces = false): DraftRequest[] {
    const wanted = this.#inTurnToGuess(this.#running.filter(this.#isRunnable)).flatMap((sequence) => {
      const { draftRequest: request } = sequence;
      return request ? [{ sequence, request }] : [];
    });
    if (!withPlaces) return wanted.map(({ request }) => request);
    // Blocks for guesses come after those for the next token of each running sequence.
    const haveBlocks = this.#running.filter(this.#isRunnable).every((sequence) => this.#states.grow(sequence));
    if (!haveBlocks) return [];
    // All are guessed together, as many tokens of each.
    const most = Math.max(0, ...wanted.map(({ request }) => request.count));
    return wanted.flatMap(({ sequence, request }): DraftRequest[] => {
      if (sequence.slot === undefined || !this.#states.grow(sequence, most)) return [];
      this.#states.settle(sequence);
      const { slot, blocks, numComputedTokens } = sequence;
      return [{ ...request, place: { slot, numComputedTokens, blocks } }];
    });
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

  /** Limits further steps to half the tokens of a step that ran out of memory. @returns false if that had one token. */
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

  /** @param underWay steps that the executor has not finished: see {@link scheduleAfter}. */
  schedule(underWay: readonly (readonly ScheduledWork[])[] = []): ScheduledWork[] {
    this.#underWay = tokensUnderWay(underWay);
    this.#makeRoom();
    const lackBlocks = this.#growRunning();
    const work: ScheduledWork[] = [];
    let budget = this.#maxNumBatchedTokens;
    let evaluated = this.#maxEvaluatedTokens;
    const runnable = this.#running.filter(
      (sequence) => this.#isRunnable(sequence) && this.#canContinue(sequence) && !lackBlocks.has(sequence),
    );
    const decodes = runnable.filter((sequence) => this.#numTokensLeft(sequence) === 1);
    const share = Math.min(this.#shareOfDecodes(), this.#decodesBesidePrompts(runnable));
    const guesses = this.#draftsFor(
      decodes.slice(0, share),
      this.#mostGuessed(runnable, Math.min(decodes.length, share)),
    );
    /** Whether a chunk of a prompt was more than the step had room for. */
    let lacksRoom = false;
    const take = (sequence: Sequence) => {
      const { wantsPromptLogits } = sequence.request;
      const room = Math.min(budget, wantsPromptLogits ? evaluated : budget);
      const numTokens = this.#tokensWithin(sequence, room);
      if (numTokens === 0 && !sequence.knownLogits) {
        lacksRoom ||= room > 0;
        return;
      }
      const begin = this.#numBegunTokens(sequence);
      if (this.#underWay.has(sequence)) this.#states.saveInPassing(sequence, undefined, begin);
      const isPrefill = begin < sequence.numPromptTokens || numTokens > 1;
      const drafts = guesses.get(sequence) ?? [];
      const isLast = numTokens > 0 && numTokens === this.#numTokensLeft(sequence);
      const isForetold = drafts.length === 0 || sequence.canForetellSampling;
      const isSampled = this.#executorSamples && isLast && sequence.canBeSampledByExecutor && isForetold;
      const givesLogits = isSampled && begin < sequence.numPromptTokens && this.#states.isCached(sequence);
      if (numTokens > 0) this.#states.settle(sequence);
      work.push({ sequence, begin, numTokens, drafts, isPrefill, isAhead: false, isSampled, givesLogits });
      budget -= numTokens + drafts.length;
      if (wantsPromptLogits) evaluated -= numTokens;
    };
    // The end of a prompt may look and cost the same as a token of an answer.
    for (const sequence of decodes.slice(0, share)) take(sequence);
    for (const sequence of runnable) if (this.#numTokensLeft(sequence) !== 1) take(sequence);
    while (budget > 0 && !lacksRoom) {
      const sequence = this.#admitNext();
      if (!sequence) break;
      take(sequence);
    }
    if (budget === 0 || evaluated === 0 || lacksRoom || decodes.length > share) this.#serveOthersNext(work);
    return work;
  }

  /**
   * Schedules a step to be begun while others are still running, the oldest first. Returns undefined if there is none: the
   * executor has as many as it takes, or what they give could change the next one.
   */
  scheduleAfter(underWay: readonly (readonly ScheduledWork[])[]): ScheduledWork[] | undefined {
    if (this.#maxConcurrentBatches === 1) return underWay.length === 1 ? this.#scheduleAhead(underWay[0]) : undefined;
    if (underWay.length >= this.#maxConcurrentBatches) return undefined;
    const work = this.schedule(underWay);
    return work.length > 0 || this.#failures.length > 0 ? work : undefined;
  }

  /**
   * Schedules the step after one that is still running. Each running sequence is in that step to the end of its tokens, and
   * continues with the next unless that token ends it. Returns undefined if the running step could change the next one, or
   * waiting sequences could begin.
   */
  #scheduleAhead(underWay: readonly ScheduledWork[]): ScheduledWork[] | undefined {
    // The others have ended since.
    const current = underWay.filter(({ sequence }) => sequence.slot !== undefined);
    const begun = new Set(current.map(({ sequence }) => sequence));
    const isAll = this.#running.every((sequence) => begun.has(sequence) || !this.#isRunnable(sequence));
    const isSure = ({ sequence, isSampled }: ScheduledWork) =>
      isSampled && sequence.canRunAhead && !sequence.request.isPaused;
    // How much of a guess counts is not known yet.
    const hasGuesses = underWay.some(({ drafts }) => drafts.length > 0);
    if (hasGuesses || !isAll || !current.every(isSure) || this.#couldAdmit()) return undefined;
    const next = current.filter(({ sequence }) => !sequence.isAboutToBeFull);
    const hasBlocks = next.every(({ sequence }) => this.#states.grow(sequence, 1));
    if (next.length === 0 || !hasBlocks) return undefined;
    return next.map((work) => {
      const begin = work.begin + work.numTokens;
      // The logits that follow a prompt come later.
      this.#states.saveInPassing(work.sequence, undefined, begin);
      return { ...work, begin, numTokens: 1, isPrefill: false, isAhead: true, givesLogits: false };
    });
  }

  /** @throws IntegrityError unless slots, queues and requests agree. */
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

  /**
   * Whether it can take part in a step. The tokens that a form allows next need to be known only when one is chosen: at once where
   * the logits are there already, and before the step where the executor chooses.
   */
  readonly #isRunnable = (sequence: Sequence): boolean => {
    if (!isUnpaused(sequence)) return false;
    const isChosenFirst = sequence.knownLogits || (this.#executorSamples && sequence.canBeSampledByExecutor);
    return !(isChosenFirst && sequence.isMaskPending);
  };

  /** Tokens at whose multiples prompts are divided. Steps of no more take what they have room for. */
  get #chunk(): number {
    return this.#maxNumBatchedTokens > this.#promptAlignment ? this.#promptAlignment : 1;
  }

  /** Tokens of the sequence for a step with room for so many. Unless they reach the next end, that is the end of a chunk. */
  #tokensWithin(sequence: Sequence, room: number): number {
    const ready = this.#tokensReady(sequence);
    const chunk = this.#chunk;
    const isTooLong = sequence.request.wantsPromptLogits && this.#maxEvaluatedTokens < chunk;
    if (ready <= room || isTooLong) return Math.min(ready, room);
    const begin = this.#numBegunTokens(sequence);
    return Math.max(0, Math.floor((begin + room) / chunk) * chunk - begin);
  }

  /** Sequences with one token that leave room for a chunk of a prompt, where there are any. */
  #decodesBesidePrompts(runnable: readonly Sequence[]): number {
    if (this.#chunk === 1 || !this.#hasPrompts(runnable)) return Number.POSITIVE_INFINITY;
    return this.#maxNumBatchedTokens - this.#chunk;
  }

  #hasPrompts(runnable: readonly Sequence[]): boolean {
    return runnable.some((sequence) => this.#numTokensLeft(sequence) > 1) || this.#couldAdmit();
  }

  /** Tokens that the sequence could process now: up to the next place for a snapshot. */
  #tokensReady(sequence: Sequence): number {
    const toSnapshot = this.#states.tokensToSnapshot(sequence, this.#numBegunTokens(sequence));
    return Math.min(this.#numTokensLeft(sequence), toSnapshot);
  }

  /**
   * Tokens that a step may guess: those that its decodes leave, of which half are for prompts where there are any.
   * @param runnable sequences with a slot.
   * @param decodes number of those that get one token each.
   */
  #mostGuessed(runnable: readonly Sequence[], decodes: number): number {
    if (!runnable.some(({ speculation }) => speculation && speculation.wanted > 0)) return 0;
    const left = Math.max(0, this.#maxNumBatchedTokens - decodes);
    const mostBesidePrompts = Math.min(left >> 1, Math.max(0, left - this.#chunk));
    return Math.min(this.#maxEvaluatedTokens, this.#hasPrompts(runnable) ? mostBesidePrompts : left);
  }

  /**
   * Guesses of sequences that get one token each. Where there is little room, each step begins with those for whose guesses there
   * was none for longest.
   * @param most tokens of all guesses.
   */
  #draftsFor(decodes: readonly Sequence[], most: number): ReadonlyMap<Sequence, readonly number[]> {
    const guesses = new Map<Sequence, readonly number[]>();
    let left = most;
    this.#numGuessingSteps++;
    for (const sequence of this.#inTurnToGuess(decodes.filter(({ speculation }) => speculation !== undefined))) {
      const begin = this.#numBegunTokens(sequence);
      // The end of a prompt.
      if (begin < sequence.numPromptTokens) continue;
      const drafts = this.#draftFor(sequence, begin, left);
      if (drafts.length === 0) continue;
      guesses.set(sequence, drafts);
      this.#guessedIn.set(sequence, this.#numGuessingSteps);
      left -= drafts.length;
    }
    return guesses;
  }

  /** Sequences in the order in which their guesses get room: first those whose guesses had none for longest. */
  #inTurnToGuess(sequences: readonly Sequence[]): Sequence[] {
    const last = (sequence: Sequence) => this.#guessedIn.get(sequence) ?? 0;
    return sequences.toSorted((a, b) => last(a) - last(b));
  }

  /** Tokens that are guessed to follow a sequence's last one, as far as there are blocks for them without pre-empting any. */
  #draftFor(sequence: Sequence, begin: number, budget: number): readonly number[] {
    // The state at a place for a snapshot is saved after a step that ends there.
    const limit = Math.min(budget, this.#states.tokensToSnapshot(sequence, begin) - 1);
    const drafts = sequence.draft(limit);
    return drafts.length === 0 || this.#states.grow(sequence, drafts.length) ? drafts : [];
  }

  /** Number of tokens whose effect is in the slot, once the steps under way are over. */
  #numBegunTokens(sequence: Sequence): number {
    return sequence.numComputedTokens + (this.#underWay.get(sequence) ?? 0);
  }

  /** Tokens that are known, and that no step has yet. */
  #numTokensLeft(sequence: Sequence): number {
    return sequence.tokenIds.length - this.#numBegunTokens(sequence);
  }

  /** Whether it need not wait for a step under way: that has none of it, or leaves tokens of a prompt. */
  #canContinue(sequence: Sequence): boolean {
    return !this.#underWay.has(sequence) || this.#numTokensLeft(sequence) > 0;
  }

  /**
   * Number of sequences with one token that a step may have, so that as many steps as can be under way have alike.
   */
  #shareOfDecodes(): number {
    if (this.#maxConcurrentBatches === 1) return Number.POSITIVE_INFINITY;
    const decodes = this.#running.filter((sequence) => isUnpaused(sequence) && this.#numTokensLeft(sequence) <= 1);
    return Math.max(1, Math.ceil(decodes.length / this.#maxConcurrentBatches));
  }

  /** Whether the first waiting sequence could get a slot, if need be that of another one. */
  #couldAdmit(): boolean {
    const next = this.#waiting.find(this.#isRunnable);
    return next !== undefined && (this.#states.numFreeSlots > 0 || this.#victimFor(next) !== undefined);
  }

  /** Gives the first waiting sequence a slot. */
  #admitNext(): Sequence | undefined {
    for (;;) {
      const next = this.#waiting.find(this.#isRunnable);
      if (!next) return undefined;
      try {
        if (!this.#states.acquire(next)) return undefined;
      } catch (error) {
        // Memory for its state or its blocks may be missing, which concerns no other sequence.
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
      if (this.#isRunnable(waiting) && compareAges(waiting, oldest) < 0) oldest = waiting;
    }
    if (oldest === admitted) return;
    removeFrom(this.#waiting, oldest);
    oldest.setbacks++;
    this.add(oldest);
  }

  /**
   * Takes slots and blocks from paused sequences, and from those of a lower priority, for sequences that wait for them.
   * A state that is lost so is saved as a snapshot, or computed again if there is no memory for one.
   */
  #makeRoom(): void {
    let [promisedSlots, promisedBlocks] = [0, 0];
    const wanting = this.#waiting.filter(this.#isRunnable).slice(0, this.#states.numSlots);
    for (const next of wanting) {
      const blocks = this.#states.blocksToStart(next);
      const fits = () =>
        this.#states.numFreeSlots > promisedSlots && this.#states.numAvailableBlocks >= promisedBlocks + blocks;
      while (!fits()) {
        const victim = this.#victimFor(next);
        if (!victim) return;
        this.#states.save(victim);
        this.#preempt(victim);
      }
      promisedSlots++;
      promisedBlocks += blocks;
    }
  }

  /**
   * Gives running sequences blocks for their next tokens. If none is left, the sequence that is last in turn gives way.
   * @returns those that have to wait for it, because it is in a step under way.
   */
  #growRunning(): ReadonlySet<Sequence> {
    const lackBlocks = new Set<Sequence>();
    if (this.#states.numBlocks === 0) return lackBlocks;
    for (const sequence of this.#running.filter(this.#isRunnable).toSorted(compareTurns)) {
      while (sequence.slot !== undefined && !this.#states.grow(sequence)) {
        const victim = this.#lastInTurn() ?? sequence;
        if (this.#underWay.has(victim)) {
          lackBlocks.add(sequence);
          break;
        }
        // No snapshot of the sequence that gives way: it would be dropped again for the block.
        this.#preempt(victim);
      }
    }
    return lackBlocks;
  }

  #victimFor({ request }: Sequence): Sequence | undefined {
    const last = this.#lastInTurn();
    if (!last || this.#underWay.has(last)) return undefined;
    const givesWay = last.request.priority > request.priority && !isSenior(last);
    return last.request.isPaused || givesWay ? last : undefined;
  }

  /** The sequence that gives way first: a paused one, else the one that came last. */
  #lastInTurn(): Sequence | undefined {
    const paused = this.#running.find((sequence) => sequence.request.isPaused && !this.#underWay.has(sequence));
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

  /** Puts the sequences that a step had no room for first in the next step. */
  #serveOthersNext(work: readonly ScheduledWork[]): void {
    const served = new Set(work.map(({ sequence }) => sequence));
    const rank = (sequence: Sequence) => (served.has(sequence) ? 1 : 0);
    this.#running = this.#running.toSorted((a, b) => rank(a) - rank(b));
  }
}

function isUnpaused({ request }: Sequence): boolean {
  return !request.isPaused && !request.isAwaitingState;
}

/** Tokens that some steps process of each of their sequences; those that have ended meanwhile are not among them. */
function tokensUnderWay(steps: readonly (readonly ScheduledWork[])[]): ReadonlyMap<Sequence, number> {
  const tokens = new Map<Sequence, number>();
  for (const { sequence, numTokens } of steps.flat()) {
    if (sequence.slot !== undefined) tokens.set(sequence, (tokens.get(sequence) ?? 0) + numTokens);
  }
  return tokens;
}

function isSenior({ setbacks }: Sequence): boolean {
  return setbacks >= SETBACKS_TO_SENIORITY;
}

/** A sequence's turn. Later requests of a group, and further answers to a prompt, have later turns. */
function turnOf({ request, index }: Sequence): number {
  return request.turn + index;
}

/** Compares two sequences for sorting: below 0 if a has its turn before b. */
function compareTurns(a: Sequence, b: Sequence): number {
  const seniority = Number(isSenior(b)) - Number(isSenior(a));
  if (seniority !== 0 || isSenior(a)) return seniority || compareAges(a, b);
  return a.request.priority - b.request.priority || turnOf(a) - turnOf(b) || compareAges(a, b);
}

/** Compares two sequences for sorting: below 0 if a came before b. */
function compareAges(a: Sequence, b: Sequence): number {
  return a.request.order - b.request.order || a.index - b.index;
}

function removeFrom(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence);
  if (at >= 0) list.splice(at, 1);
}
