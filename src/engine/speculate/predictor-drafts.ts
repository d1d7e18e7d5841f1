import { OutOfMemoryError } from '../../errors.ts';
import type { GuessBatch, StateCommand } from '../run/executor.ts';
import { MadeDrafts } from './made-drafts.ts';
import type { Drafter, DraftRequest, DraftSource } from './speculation.ts';

export interface PredictorDraftsOptions {
  /** Lets the model guess: see `Executor.guess`. */
  readonly guess: (batch: GuessBatch) => Promise<Int32Array>;
  /** Operations on states that come before. */
  readonly takeCommands: () => readonly StateCommand[];
}

/**
 * Guesses of a model's own layers, from the states of the answers themselves. Rejects where the model's executor fails: that is
 * the engine's failure. Only where memory is missing, for guesses alone, no more are made.
 */
export class PredictorDrafts implements DraftSource {
  readonly readsStates = true;
  readonly #options: PredictorDraftsOptions;
  readonly #drafts = new MadeDrafts();
  #hasFailed = false;

  constructor(options: PredictorDraftsOptions) {
    this.#options = options;
  }

  open(): Drafter {
    return this.#drafts.open(() => this.#hasFailed);
  }

  async prepare(requests: readonly DraftRequest[]): Promise<void> {
    const placed = requests.flatMap(({ place, ...request }) => (place ? [{ ...request, place }] : []));
    if (this.#hasFailed || placed.length === 0) return;
    const count = Math.max(...placed.map((request) => request.count));
    const sequences = placed.map(({ place, tokenIds }) => ({ ...place, tokenId: tokenIds[tokenIds.length - 1] }));
    let guesses: Int32Array;
    try {
      guesses = await this.#options.guess({ commands: this.#options.takeCommands(), sequences, count });
    } catch (error) {
      if (!(error instanceof OutOfMemoryError)) throw error;
      // The engine computes its states again. Steps without guesses need less.
      this.#hasFailed = true;
      return;
    }
    for (const [i, { drafter, tokenIds, count: wanted }] of placed.entries()) {
      this.#drafts.put(drafter, tokenIds.length, [...guesses.subarray(i * count, i * count + wanted)]);
    }
  }

  async dispose(): Promise<void> {}
}
