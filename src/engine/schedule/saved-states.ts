import { exportedLength, type StateFootprint, type StatePlace } from '../run/executor.ts';
import type { ReloadableExecutor } from '../run/reloadable-executor.ts';
import { checkStateLength } from '../run/state-cache.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';
import type { KnownPrefix, StateManager } from './state-manager.ts';

/** A part of a state: with the keys and values of some of its tokens, or these alone. */
export interface SavedPart {
  /** First of the tokens, at the beginning of a block, and the one after the last. */
  readonly begin: number;
  readonly end: number;
  /** Whether the part has the state itself, before the keys and values. */
  readonly hasState: boolean;
}

/** A state as it comes from outside. */
export interface WrittenState {
  readonly tokenIds: readonly number[];
  /** Logits (vocabSize) that follow, if they are known. */
  readonly logits: Float32Array | undefined;
  /** Salt of the requests that may continue from it. */
  readonly salt: CacheSalt;
  /** Parts with their values. One has the state. */
  readonly parts: readonly (SavedPart & { readonly values: Float32Array })[];
  /** First tokens, in whole blocks, of a snapshot that its owner holds: the state shares their blocks. */
  readonly known?: KnownPrefix | undefined;
}

/** States with owners outside of the engine, such as sessions. They stay until their owners release them. */
export class SavedStates {
  readonly #executor: ReloadableExecutor;
  readonly #states: StateManager;

  constructor(executor: ReloadableExecutor, states: StateManager) {
    this.#executor = executor;
    this.#states = states;
  }

  get footprint(): StateFootprint {
    return this.#executor.stateFootprint;
  }

  /** A snapshot's state in one piece: see `Executor.exportState`. */
  read(snapshot: Snapshot): Promise<Float32Array<ArrayBuffer>> {
    return this.readPart(snapshot, wholeOf(snapshot));
  }

  /** A part of a snapshot's state. */
  async readPart(snapshot: Snapshot, part: SavedPart): Promise<Float32Array<ArrayBuffer>> {
    const commands = this.#states.takeCommands();
    // Sent without waiting in between: the executor keeps their order.
    const taken = this.#executor.execute({ commands, sequences: [], logits: 'last' });
    const [state] = await Promise.all([this.#executor.exportState(this.#placeOf(snapshot, part)), taken]);
    return state;
  }

  /** Number of values in a part of a state. */
  partLength({ begin, end, hasState }: SavedPart): number {
    return exportedLength(this.footprint, { id: hasState ? 0 : undefined, length: end - begin });
  }

  /**
   * Takes a state as that after these tokens. The caller owns the snapshot. Undefined: other sequences need all blocks, or
   * the executor has failed.
   * @param logits (vocabSize), those that follow.
   * @param salt salt of the requests that may continue from it.
   * @throws ShapeError when the state has another length than the model's.
   */
  write(
    tokenIds: readonly number[],
    state: Float32Array,
    logits: Float32Array | undefined,
    salt?: CacheSalt,
  ): Promise<Snapshot | undefined> {
    const parts = [{ ...wholeOf(tokenIds), values: state }];
    return this.writeParts({ tokenIds, logits, salt, parts });
  }

  /** {@link write}, of a state in parts. @throws ShapeError */
  async writeParts({ tokenIds, logits, salt, parts, known }: WrittenState): Promise<Snapshot | undefined> {
    for (const { begin, end, hasState, values } of parts) {
      checkStateLength(values, this.footprint, { id: hasState ? 0 : undefined, length: end - begin });
    }
    if (this.#executor.failure) return undefined;
    const added = this.#states.addPinned(tokenIds, logits, salt, known);
    if (!added?.isNew) return added?.snapshot;
    const { snapshot } = added;
    // Commands that were given before may still read the blocks that the state gets.
    const commands = snapshot.blocks.length > 0 ? this.#states.takeCommands() : [];
    const before = commands.length > 0 && this.#executor.execute({ commands, sequences: [], logits: 'last' });
    const imported = parts.map((part) => this.#executor.importState(this.#placeOf(snapshot, part), part.values));
    try {
      await Promise.all([before, ...imported]);
    } catch (error) {
      this.#states.unpin(snapshot);
      if (this.#executor.failure) return undefined;
      throw error;
    }
    return snapshot;
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

  /** A part of a snapshot as the executor knows it. */
  #placeOf({ id, blocks }: Snapshot, { begin, end, hasState }: SavedPart): StatePlace {
    const { blockSize = 1 } = this.footprint.kvCache ?? {};
    const own = blocks.slice(begin / blockSize, Math.ceil(end / blockSize));
    return { id: hasState ? id : undefined, length: end - begin, blocks: own };
  }
}

function wholeOf({ length }: { readonly length: number }): SavedPart {
  return { begin: 0, end: length, hasState: true };
}
