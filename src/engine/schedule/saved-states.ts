import type { StatePlace } from '../run/executor.ts';
import type { ReloadableExecutor } from '../run/reloadable-executor.ts';
import { checkStateLength } from '../run/state-cache.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import type { StateManager } from './state-manager.ts';

/** States with owners outside of the engine, such as sessions. They stay until their owners release them. */
export class SavedStates {
  readonly #executor: ReloadableExecutor;
  readonly #states: StateManager;

  constructor(executor: ReloadableExecutor, states: StateManager) {
    this.#executor = executor;
    this.#states = states;
  }

  /** A snapshot's state in one piece: see `Executor.exportState`. */
  async read(snapshot: Snapshot): Promise<Float32Array<ArrayBuffer>> {
    const commands = this.#states.takeCommands();
    // Sent without waiting in between: the executor keeps their order.
    const taken = this.#executor.execute({ commands, sequences: [], logits: 'last' });
    const [state] = await Promise.all([this.#executor.exportState(placeOf(snapshot)), taken]);
    return state;
  }

  /**
   * Takes a state as that after these tokens. The caller owns the snapshot. Undefined: other sequences need all blocks, or
   * the executor has failed.
   * @param logits (vocabSize), those that follow.
   * @param salt salt of the requests that may continue from it.
   * @throws ShapeError when the state has another length than the model's.
   */
  async write(
    tokenIds: readonly number[],
    state: Float32Array,
    logits: Float32Array | undefined,
    salt?: CacheSalt,
  ): Promise<Snapshot | undefined> {
    checkStateLength(state, this.#executor.stateFootprint, tokenIds.length);
    if (this.#executor.failure) return undefined;
    const added = this.#states.addPinned(tokenIds, logits, salt);
    if (!added?.isNew) return added?.snapshot;
    // Commands that were given before may still read the blocks that the state gets.
    const commands = added.snapshot.blocks.length > 0 ? this.#states.takeCommands() : [];
    const before = commands.length > 0 && this.#executor.execute({ commands, sequences: [], logits: 'last' });
    try {
      await Promise.all([before, this.#executor.importState(placeOf(added.snapshot), state)]);
    } catch (error) {
      this.#states.unpin(added.snapshot);
      if (this.#executor.failure) return undefined;
      throw error;
    }
    return added.snapshot;
  }

  /** Whether a snapshot is still there: none is, once the executor has failed. */
  has(snapshot: Snapshot): boolean {
    return this.#executor.failure === undefined && this.#states.has(snapshot);
  }

  /** Adds an owner. */
  retain(snapshot: Snapshot): void {
    this.#states.pin(snapshot);
  }

  /** Removes an owner. Without owners, the snapshot belongs to the prefix cache like others. */
  release(snapshot: Snapshot): void {
    this.#states.unpin(snapshot);
  }
}

/** A snapshot as the executor knows it. */
function placeOf({ id, length, blocks }: Snapshot): StatePlace {
  return { id, length, blocks };
}
