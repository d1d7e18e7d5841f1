import type { PrefixCacheStats } from './engine-stats.ts';
import type { StateCommand } from './executor.ts';
import { type AddedSnapshot, PrefixCache, type Snapshot } from './prefix-cache.ts';
import type { Sequence } from './sequence.ts';
import { StateSlots } from './state-slots.ts';

export interface StateManagerOptions {
  readonly slots: number;
  /** Of one state. */
  readonly stateBytes: number;
  readonly enablePrefixCaching: boolean;
  readonly prefixCacheBytes: number;
  readonly snapshotInterval: number;
}

/**
 * Who has which slot, and which states are kept beside them. It decides; the commands that it collects go to the
 * executor with the next step and are carried out in the order of the decisions.
 */
export class StateManager {
  readonly #slots: StateSlots<Sequence>;
  readonly #cache: PrefixCache;
  readonly #isCaching: boolean;
  readonly #interval: number;
  #commands: StateCommand[] = [];

  constructor(options: StateManagerOptions) {
    this.#slots = new StateSlots(options.slots);
    this.#isCaching = options.enablePrefixCaching;
    this.#interval = options.snapshotInterval;
    this.#cache = new PrefixCache({
      stateBytes: options.stateBytes,
      maxBytes: options.enablePrefixCaching ? options.prefixCacheBytes : 0,
      onRelease: (snapshot) => this.#commands.push({ type: 'release', snapshot }),
    });
  }

  get numSlots(): number {
    return this.#slots.count;
  }

  get numFreeSlots(): number {
    return this.#slots.numFree;
  }

  /** What the executor has to do first, since the last call. */
  takeCommands(): StateCommand[] {
    const commands = this.#commands;
    this.#commands = [];
    return commands;
  }

  /** Gives a sequence a slot, and in it the state of as many of its tokens as are known. False: no slot is free. */
  acquire(sequence: Sequence): boolean {
    const slot = this.#slots.acquire(sequence);
    if (slot === undefined) return false;
    const snapshot = sequence.request.wantsPromptLogits ? undefined : this.#cache.match(sequence.tokenIds);
    if (snapshot) this.#commands.push({ type: 'load', snapshot: snapshot.id, slot });
    sequence.start(slot, snapshot);
    return true;
  }

  /** Gives a sequence a slot with a copy of another's state. False: no slot is free. */
  fork(from: Sequence, to: Sequence): boolean {
    if (from.slot === undefined) return false;
    const slot = this.#slots.acquire(to);
    if (slot === undefined) return false;
    this.#commands.push({ type: 'copy', from: from.slot, to: slot });
    to.start(slot, { length: from.numComputedTokens, logits: undefined });
    return true;
  }

  release(sequence: Sequence): void {
    if (sequence.slot === undefined) return;
    this.#slots.release(sequence.slot, sequence);
    sequence.slot = undefined;
  }

  /** Tokens that a sequence may process before the next place where its state is kept. */
  tokensToSnapshot({ request, numComputedTokens }: Sequence): number {
    if (!this.#isCaching || !request.isCached) return Number.POSITIVE_INFINITY;
    return this.#interval - (numComputedTokens % this.#interval);
  }

  /** Keeps a sequence's state if this is a place for it. @param logits those after its last computed token. */
  saveInPassing(sequence: Sequence, logits: Float32Array): void {
    const { numComputedTokens, numPromptTokens } = sequence;
    if (numComputedTokens % this.#interval === 0 || numComputedTokens === numPromptTokens) this.save(sequence, logits);
  }

  /** Keeps a sequence's state for requests to come. */
  save(sequence: Sequence, logits?: Float32Array): void {
    const { slot, tokenIds, numComputedTokens, request } = sequence;
    if (!this.#isCaching || !request.isCached || slot === undefined || numComputedTokens === 0) return;
    this.#take(slot, this.#cache.add(tokenIds, numComputedTokens, logits));
  }

  /** The same, for an owner who gives it back by `unpin`. */
  savePinned(sequence: Sequence, logits: Float32Array): Snapshot | undefined {
    const { slot, tokenIds, numComputedTokens } = sequence;
    if (slot === undefined) return undefined;
    return this.#take(slot, this.#cache.addPinned(tokenIds, numComputedTokens, logits));
  }

  /** A place for a state that comes from elsewhere. isNew: the caller imports it under the snapshot's id. */
  addPinned(tokenIds: readonly number[], logits: Float32Array | undefined): AddedSnapshot {
    return this.#cache.addPinned(tokenIds, tokenIds.length, logits);
  }

  pin(snapshot: Snapshot): void {
    this.#cache.pin(snapshot);
  }

  unpin(snapshot: Snapshot): void {
    this.#cache.unpin(snapshot);
  }

  has(snapshot: Snapshot): boolean {
    return this.#cache.has(snapshot);
  }

  /** The executor is gone, with all its states. Slots stay with their owners. */
  forgetSnapshots(): void {
    this.#commands = [];
    this.#cache.clear();
  }

  cacheStats(): PrefixCacheStats {
    return this.#cache.stats();
  }

  /** @throws IntegrityError */
  checkIntegrity(running: Iterable<Sequence>): void {
    const claims = new Map<Sequence, number>();
    for (const sequence of running) claims.set(sequence, sequence.slot ?? -1);
    this.#slots.checkIntegrity(claims);
    this.#cache.checkIntegrity();
  }

  #take(slot: number, added: AddedSnapshot | undefined): Snapshot | undefined {
    if (added?.isNew) this.#commands.push({ type: 'save', slot, snapshot: added.snapshot.id });
    return added?.snapshot;
  }
}
