import type { PlannedStep } from './pending-work.ts';

/** Kinds of steps that are kept. A model without attention has two for each number of sequences that decode together. */
const MAX_STEPS = 128;

/** Planned steps by key. Beyond their number the one that ran least recently goes. */
export class PlannedSteps {
  readonly #steps = new Map<string, PlannedStep>();
  readonly #forget: (step: PlannedStep) => void;

  /** @param forget gives back a step's buffers. */
  constructor(forget: (step: PlannedStep) => void) {
    this.#forget = forget;
  }

  /** The step under this key, planned if it is not there. */
  get(key: string, plan: () => PlannedStep): PlannedStep {
    const known = this.#steps.get(key);
    if (!known) this.#makeRoom();
    const step = known ?? plan();
    // Last: maps keep the order in which keys were set.
    this.#steps.delete(key);
    this.#steps.set(key, step);
    return step;
  }

  #makeRoom(): void {
    if (this.#steps.size < MAX_STEPS) return;
    const [oldest] = this.#steps;
    this.#steps.delete(oldest[0]);
    this.#forget(oldest[1]);
  }
}
