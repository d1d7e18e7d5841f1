import { PAD_SLOT_ID } from '../../backends/contract/sequences.ts';
import { MOST_REPLAYED, type ReplayOps } from '../../backends/contract/state-space.ts';
import { ArgumentError } from '../../errors.ts';
import { isDecode, type ScheduledSequence } from '../../layers/mamba/mamba2-metadata.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { StateStorage } from '../../tensor/state-dtype.ts';
import type { StateCommand } from './executor.ts';

/**
 * Tokens, per mixer, that a slot's state may lack: a step less than those after which it is written. 0: none.
 * @throws ArgumentError where steps are asked for that the backend can't do.
 */
export function replayedTokens(
  replay: Pick<ReplayOps, 'stepsOf'> | undefined,
  { stateShapes }: Pick<CausalLM, 'stateShapes'>,
  states: StateStorage,
): readonly number[] {
  const { replaySteps: asked } = states;
  if (asked !== undefined) checkReplaySteps(asked, replay !== undefined);
  // One count is every layer's.
  const known = stateShapes.map(({ ssm }) => replay?.stepsOf({ ...states, shape: ssm }));
  const steps = asked ?? Math.min(...known.filter((own) => own !== undefined));
  return known.map((own) => (own === undefined ? 0 : steps - 1));
}

function checkReplaySteps(steps: number, canReplay: boolean): void {
  if (steps === 1 && Number.isInteger(steps)) return;
  if (!canReplay) {
    throw new ArgumentError(`replayssmBufferLen is ${steps}.`, "Only the device 'cuda' replays steps; use 1.");
  }
  if (!Number.isInteger(steps) || steps < 1 || steps > MOST_REPLAYED + 1) {
    throw new ArgumentError(`replayssmBufferLen is ${steps}.`, `Use a whole number from 1 to ${MOST_REPLAYED + 1}.`);
  }
}

/** How many tokens the states of slots lack. The same on all ranks, which carry out the same steps. */
export class ReplayedSlots {
  /** Tokens that a state may lack. */
  readonly #most: number;
  readonly #fewestRows: number;
  readonly #counts: Int32Array;
  /** Position after the last token that was counted, and what the state lacked before it. */
  readonly #ends: Int32Array;
  readonly #previous: Int32Array;

  /** @param fewestRows that decode in a step from which on states lack its tokens. */
  constructor(slots: number, most: number, fewestRows: number) {
    this.#most = most;
    this.#fewestRows = fewestRows;
    this.#counts = new Int32Array(slots);
    this.#ends = new Int32Array(slots);
    this.#previous = new Int32Array(slots);
  }

  /**
   * Slots whose states must have all tokens before a step: its commands or sequences use them otherwise than by decoding, or
   * few sequences decode.
   * States that are replaced lack nothing from then on.
   */
  before(commands: readonly StateCommand[], sequences: readonly ScheduledSequence[]): readonly number[] {
    const used = new Set<number>();
    for (const command of commands) {
      if (command.type === 'reset') for (const slot of this.#counts.keys()) this.#empty(slot);
      else if (command.type === 'copy') used.add(command.from);
      else if (command.type === 'save' || command.type === 'advance') used.add(command.slot);
      if (command.type === 'save') this.#takeBack(command.slot, command.length);
    }
    const isFew = sequences.filter(isDecode).length < this.#fewestRows;
    for (const sequence of sequences) {
      const { slot, numComputedTokens, numTokens } = sequence;
      if (numComputedTokens > 0 && numTokens > 0 && (isFew || !isDecode(sequence))) used.add(slot);
    }
    return [...used].filter((slot) => this.#counts[slot] > 0);
  }

  /** The slots and what they lack; from now on they lack nothing. */
  take(slots: readonly number[]): Readonly<Record<'slots' | 'counts' | 'positions', Int32Array>> {
    const counts = Int32Array.from(slots, (slot) => this.#counts[slot]);
    const positions = Int32Array.from(slots, (slot, i) => this.#ends[slot] - counts[i]);
    for (const slot of slots) this.#empty(slot);
    return { slots: Int32Array.from(slots), counts, positions };
  }

  /** Forgets what was lacking in states that commands or sequences replace. */
  replace(commands: readonly StateCommand[], sequences: readonly ScheduledSequence[]): void {
    for (const command of commands) {
      if (command.type === 'copy') this.#empty(command.to);
      else if (command.type === 'load') this.#empty(command.slot);
    }
    for (const { slot, numComputedTokens, numTokens } of sequences) {
      if (numComputedTokens === 0 && numTokens > 0) this.#empty(slot);
    }
  }

  /**
   * How many tokens the states of decoding slots lack before this token, which is counted. Undefined: they lack none, and
   * are written.
   */
  count(decodes: readonly ScheduledSequence[]): Int32Array | undefined {
    if (decodes.length < this.#fewestRows) return undefined;
    return Int32Array.from(decodes, ({ slot, numComputedTokens }) => {
      if (slot === PAD_SLOT_ID) return 0;
      const count = this.#counts[slot];
      this.#previous[slot] = count;
      this.#counts[slot] = count === this.#most ? 0 : count + 1;
      this.#ends[slot] = numComputedTokens + 1;
      return count;
    });
  }

  #empty(slot: number): void {
    if (slot === PAD_SLOT_ID) return;
    this.#counts[slot] = 0;
    this.#previous[slot] = 0;
  }

  /**
   * Takes back the last count of a slot whose saved state has a token less: the device has left that token out, because the
   * sequence had ended with the one before, which was not known yet when the step began.
   */
  #takeBack(slot: number, length: number | undefined): void {
    if (length !== this.#ends[slot] - 1) return;
    this.#counts[slot] = this.#previous[slot];
    this.#ends[slot] = length;
  }
}
