import type { Request, Sequence } from '../request/request.ts';
import type { StateCommand, StateFootprint } from '../run/executor.ts';
import { BlockPool } from '../state/block-pool.ts';
import { PrefixCache, type PrefixCacheStats } from '../state/prefix-cache.ts';
import type { AddedSnapshot, CachedPrefix, CacheSalt, Snapshot } from '../state/snapshot.ts';
import { StateSlots } from '../state/state-slots.ts';

export interface StateManagerOptions {
  readonly slots: number;
  readonly footprint: StateFootprint;
  readonly enablePrefixCaching: boolean;
  readonly prefixCacheBytes: number;
  readonly snapshotInterval: number;
}

/** A sequence's first tokens, as far as their keys and values are known. */
export type KnownPrefix = Pick<Snapshot, 'length' | 'blocks'>;

const NOTHING: KnownPrefix = { length: 0, blocks: [] };

/**
 * Assigns slots and blocks to sequences, and decides which states are saved. The commands that it collects go to the
 * executor with the next step, which carries them out in the order of the decisions.
 *
 * A block is written by one sequence only, which appends to it. So others may share its earlier entries, and a
 * sequence that continues from the middle of a block does so in a copy.
 */
export class StateManager {
  readonly #slots: StateSlots<Sequence>;
  readonly #pool: BlockPool;
  readonly #cache: PrefixCache;
  readonly #isCaching: boolean;
  readonly #interval: number;
  /** Last tokens of a text whose entries in blocks the text after it writes. */
  readonly #lag: number;
  /** Bytes of a snapshot and of the blocks that it has besides those of the snapshot before. */
  readonly #bytesOfInterval: number;
  #commands: StateCommand[] = [];

  constructor({ slots, footprint, enablePrefixCaching, prefixCacheBytes, snapshotInterval }: StateManagerOptions) {
    const { numBlocks = 0, blockSize = 1, blockBytes = 0, lag = 0 } = footprint.kvCache ?? {};
    this.#lag = lag;
    this.#slots = new StateSlots(slots);
    this.#pool = new BlockPool(numBlocks, blockSize);
    this.#isCaching = enablePrefixCaching;
    this.#interval = snapshotInterval;
    this.#bytesOfInterval = footprint.bytes + Math.ceil(snapshotInterval / blockSize) * blockBytes;
    this.#cache = new PrefixCache({
      stateBytes: footprint.bytes,
      blockBytes,
      maxBytes: enablePrefixCaching ? prefixCacheBytes : 0,
      pool: this.#pool,
      onRelease: (snapshot) => this.#commands.push({ type: 'release', snapshot }),
    });
  }

  get numSlots(): number {
    return this.#slots.count;
  }

  get numFreeSlots(): number {
    return this.#slots.numFree;
  }

  get numBlocks(): number {
    return this.#pool.count;
  }

  get numFreeBlocks(): number {
    return this.#pool.numFree;
  }

  /** Blocks that sequences could have: free ones, and those that only snapshots hold. */
  get numAvailableBlocks(): number {
    return this.#pool.numFree + this.#cache.numReclaimableBlocks;
  }

  /** Tokens that a sequence may have. One block more is for copying the last one that it shares. */
  get maxSequenceTokens(): number {
    const { count, blockSize } = this.#pool;
    return count === 0 ? Number.POSITIVE_INFINITY : (count - 1) * blockSize;
  }

  /** Commands since the last call, which the executor carries out before its next step. */
  takeCommands(): StateCommand[] {
    const commands = this.#commands;
    this.#commands = [];
    return commands;
  }

  /** Number of the available blocks that a waiting sequence would take. */
  blocksToStart({ tokenIds, request }: Sequence): number {
    if (this.#pool.count === 0) return 0;
    const known = this.#find(tokenIds, request) ?? NOTHING;
    const own = this.#pool.blocksFor(tokenIds.length) - this.#numFullBlocks(known);
    return own + known.blocks.filter((block) => this.#cache.isReclaimable(block)).length;
  }

  /**
   * Gives a sequence a slot, in it the state of as many of its tokens as are known, and blocks for all of them. False:
   * there is no slot for it, or not enough blocks.
   */
  acquire(sequence: Sequence): boolean {
    const { tokenIds, request } = sequence;
    if (this.#slots.numFree === 0) return false;
    const snapshot = this.#find(tokenIds, request);
    const blocks = this.#blocksAfter(snapshot ?? NOTHING, tokenIds.length);
    if (!blocks) return false;
    const slot = this.#slots.acquire(sequence);
    if (slot === undefined) return false;
    if (!request.wantsPromptLogits) this.#cache.use(snapshot, tokenIds.length);
    if (snapshot) this.#commands.push({ type: 'load', snapshot: snapshot.id, slot });
    sequence.start({ slot, blocks }, snapshot);
    return true;
  }

  /** Gives a sequence a slot with a copy of another's state, and blocks of which it shares those that are full. */
  fork(from: Sequence, to: Sequence): boolean {
    if (from.slot === undefined || this.#slots.numFree === 0) return false;
    const known = this.#prefixOf(from);
    const blocks = this.#blocksAfter(known, to.tokenIds.length);
    if (!blocks) return false;
    const slot = this.#slots.acquire(to);
    if (slot === undefined) return false;
    this.settle(from);
    this.#commands.push({ type: 'copy', from: from.slot, to: slot });
    to.start({ slot, blocks }, known);
    return true;
  }

  /** Gives a running sequence blocks for its tokens and `numMore` further ones. Returns false if there are not enough. */
  grow(sequence: Sequence, numMore = 0): boolean {
    const missing = this.#pool.blocksFor(sequence.tokenIds.length + numMore) - sequence.blocks.length;
    if (missing <= 0) return true;
    const blocks = this.#take(missing);
    if (blocks) sequence.blocks = [...sequence.blocks, ...blocks];
    return blocks !== undefined;
  }

  /** Takes tokens that were guessed right into the state of the sequence's slot: before it is copied, and before a step. */
  settle(sequence: Sequence): void {
    const { slot, numTentativeTokens: numTokens } = sequence;
    if (slot === undefined || numTokens === 0) return;
    this.#commands.push({ type: 'advance', slot, numTokens });
    sequence.numTentativeTokens = 0;
  }

  release(sequence: Sequence): void {
    if (sequence.slot === undefined) return;
    this.#slots.release(sequence.slot, sequence);
    this.#pool.release(sequence.blocks);
    sequence.stop();
  }

  /** Whether a sequence's states are saved for later requests, that at the end of its prompt with logits. */
  isCached({ request }: Sequence): boolean {
    return this.#isCaching && request.isCached;
  }

  /**
   * Number of tokens that a sequence may process before its state is saved next.
   * @param length tokens whose effect is in its slot by then.
   */
  tokensToSnapshot(sequence: Sequence, length = sequence.numComputedTokens): number {
    if (!this.isCached(sequence)) return Number.POSITIVE_INFINITY;
    return this.#interval - (length % this.#interval);
  }

  /**
   * Saves a sequence's state if this is a place for a snapshot.
   * @param logits logits after its last computed token, if they are known.
   * @param length tokens whose effect is in its slot once the steps under way are over.
   */
  saveInPassing(sequence: Sequence, logits: Float32Array | undefined, length = sequence.numComputedTokens): void {
    if (length % this.#interval === 0 || length === sequence.numPromptTokens) this.save(sequence, logits, length);
  }

  /** Adds the logits that follow a sequence's computed tokens to their state, if that was saved before they were known. */
  addLogits({ request, tokenIds, numComputedTokens }: Sequence, logits: Float32Array): void {
    this.#cache.addLogits(tokenIds, numComputedTokens, logits, request.cacheSalt);
  }

  /** Saves a sequence's state for later requests. */
  save(sequence: Sequence, logits?: Float32Array, length = sequence.numComputedTokens): void {
    const { slot } = sequence;
    if (!this.isCached(sequence) || slot === undefined || length === 0) return;
    this.settle(sequence);
    this.#takeSnapshot(slot, this.#cache.add(this.#prefixOf(sequence, logits, length)));
  }

  /** Saves a sequence's state for an owner that releases it with `unpin`. */
  savePinned(sequence: Sequence, logits: Float32Array | undefined): Snapshot | undefined {
    const { slot } = sequence;
    if (slot === undefined) return undefined;
    this.settle(sequence);
    return this.#takeSnapshot(slot, this.#cache.addPinned(this.#prefixOf(sequence, logits)));
  }

  /**
   * Makes a place for a state that comes from outside. If `isNew`, the caller imports the state under the snapshot's id,
   * after the commands so far. Returns undefined if there are no blocks for it.
   * @param known first tokens whose blocks it shares.
   */
  addPinned(
    tokenIds: readonly number[],
    logits: Float32Array | undefined,
    salt?: CacheSalt,
    known: KnownPrefix = NOTHING,
  ): AddedSnapshot | undefined {
    const { length } = tokenIds;
    const blocks = this.#blocksAfter(known, length);
    if (!blocks) return undefined;
    const added = this.#cache.addPinned({ salt, tokenIds, length, blocks, logits });
    this.#pool.release(blocks);
    return added;
  }

  /** The snapshot of the longest beginning of these tokens, if it may be continued from with them. */
  find(tokenIds: readonly number[], salt: CacheSalt): Snapshot | undefined {
    return this.#cache.find(tokenIds, salt);
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

  /** The executor is gone, with all its states. Slots and blocks stay with the sequences that have them. */
  forgetSnapshots(): void {
    this.#commands = [];
    this.#cache.clear();
  }

  /** Tells an executor that ran out of memory to drop all states. @returns whether that frees snapshots. */
  resetStates(): boolean {
    const hadSnapshots = this.#cache.stats().entries > 0;
    this.#cache.clear();
    this.#commands = [{ type: 'reset' }];
    return hadSnapshots;
  }

  cacheStats(): PrefixCacheStats {
    const stats = this.#cache.stats();
    return {
      ...stats,
      snapshotInterval: this.#interval,
      maxEntries: Math.floor(stats.maxBytes / this.#bytesOfInterval),
    };
  }

  /** @throws IntegrityError */
  checkIntegrity(running: readonly Sequence[]): void {
    const claims = new Map<Sequence, number>();
    for (const sequence of running) claims.set(sequence, sequence.slot ?? -1);
    this.#slots.checkIntegrity(claims);
    this.#cache.checkIntegrity();
    this.#pool.checkIntegrity([...running.map(({ blocks }) => blocks), ...this.#cache.heldBlocks()]);
  }

  /** The snapshot that a request may continue from. */
  #find(tokenIds: readonly number[], { wantsPromptLogits, cacheSalt }: Request): Snapshot | undefined {
    return wantsPromptLogits ? undefined : this.#cache.find(tokenIds, cacheSalt);
  }

  #prefixOf(sequence: Sequence, logits?: Float32Array, length = sequence.numComputedTokens): CachedPrefix {
    const { request, tokenIds, blocks } = sequence;
    return { salt: request.cacheSalt, tokenIds, length, blocks: blocks.slice(0, this.#pool.blocksFor(length)), logits };
  }

  #takeSnapshot(slot: number, added: AddedSnapshot | undefined): Snapshot | undefined {
    if (!added?.isNew) return added?.snapshot;
    const { id, length } = added.snapshot;
    this.#commands.push({ type: 'save', slot, snapshot: id, length });
    return added.snapshot;
  }

  /**
   * Blocks for `numTokens` tokens, the first of which are known: full blocks of those are shared, the rest is copied.
   */
  #blocksAfter(known: KnownPrefix, numTokens: number): number[] | undefined {
    // Shared before others are taken, because those may be taken from a snapshot.
    this.#pool.retain(known.blocks);
    const numShared = this.#numFullBlocks(known);
    const own = this.#take(this.#pool.blocksFor(numTokens) - numShared);
    if (!own) {
      this.#pool.release(known.blocks);
      return undefined;
    }
    const partial = known.blocks.slice(numShared);
    for (const [i, from] of partial.entries()) this.#commands.push({ type: 'copyBlock', from, to: own[i] });
    this.#pool.release(partial);
    return [...known.blocks.slice(0, numShared), ...own];
  }

  /** Blocks into which nothing is written after these tokens. */
  #numFullBlocks({ length, blocks }: KnownPrefix): number {
    return Math.min(blocks.length, Math.floor(Math.max(0, length - this.#lag) / this.#pool.blockSize));
  }

  /** Free blocks, at the cost of snapshots where there are none. */
  #take(count: number): number[] | undefined {
    return this.#cache.reclaim(count) ? this.#pool.take(count) : undefined;
  }
}
