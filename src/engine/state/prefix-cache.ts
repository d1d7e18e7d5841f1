import { IntegrityError } from '../../errors.ts';
import { BlockCounts } from './block-counts.ts';
import type { BlockPool } from './block-pool.ts';
import { PrefixTree } from './prefix-tree.ts';
import type { AddedSnapshot, CachedPrefix, CacheSalt, Snapshot } from './snapshot.ts';

/** Contents of the prefix cache, and how much processing it has saved. */
export interface PrefixCacheStats {
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
  /** Tokens between two states of a text. */
  readonly snapshotInterval: number;
  /** States that fit, each with the keys and values of the tokens since the one before. */
  readonly maxEntries: number;
  /** Lookups, and those that found a prefix. */
  readonly queries: number;
  readonly hits: number;
  /** Tokens that were looked up, and those that needed no processing. */
  readonly queriedTokens: number;
  readonly hitTokens: number;
  readonly evictions: number;
}

/** What a cache counts by itself. */
type CacheCounts = Omit<PrefixCacheStats, 'snapshotInterval' | 'maxEntries'>;

export interface PrefixCacheOptions {
  /** Bytes of one saved state. */
  readonly stateBytes: number;
  readonly blockBytes: number;
  /** Limit for unpinned snapshots; a shared block counts once. */
  readonly maxBytes: number;
  /** Pool whose blocks snapshots share with sequences and with each other. */
  readonly pool: BlockPool;
  /** The executor may drop this snapshot. */
  readonly onRelease: (id: number) => void;
}

/**
 * Snapshots by the tokens that led to them, least recently used first out. Whether a snapshot fits a sequence is decided
 * by comparing tokens and salts: no salt finds what another one has cached. Pinned snapshots do not count against the
 * limit, and are dropped only if no other blocks are left.
 */
export class PrefixCache {
  readonly #options: PrefixCacheOptions;
  /** Trees by salt; one for each salt with a snapshot. */
  readonly #trees = new Map<CacheSalt, PrefixTree<Snapshot>>();
  /** Snapshots that are not pinned, least recently used first. */
  readonly #evictable = new Map<number, Snapshot>();
  readonly #evictableBlocks = new BlockCounts();
  readonly #pinned = new Set<Snapshot>();
  readonly #pinnedBlocks = new BlockCounts();
  #nextId = 0;
  /** Bytes of evictable snapshots without their blocks. */
  #ownBytes = 0;
  #queries = 0;
  #hits = 0;
  #queriedTokens = 0;
  #hitTokens = 0;
  #evictions = 0;

  constructor(options: PrefixCacheOptions) {
    this.#options = options;
  }

  /**
   * The snapshot of the longest beginning of these tokens. A snapshot of all of them needs its logits, from which a
   * sequence continues.
   */
  find(tokenIds: readonly number[], salt?: CacheSalt): Snapshot | undefined {
    const usable = ({ length, logits }: Snapshot) => length < tokenIds.length || logits !== undefined;
    return this.#trees.get(salt)?.longest(tokenIds, usable);
  }

  /** Records a cache query: a hit reuses `found`, out of `numTokens` that were looked up. */
  use(found: Snapshot | undefined, numTokens: number): void {
    this.#queries++;
    this.#queriedTokens += numTokens;
    if (!found) return;
    this.#hits++;
    this.#hitTokens += found.length;
    this.#touch(found);
  }

  /** Makes room for the state after the first `length` tokens. undefined: the limit leaves none. */
  add(prefix: CachedPrefix): AddedSnapshot | undefined {
    const { pool, blockBytes, maxBytes } = this.#options;
    const { length, logits } = prefix;
    if (this.#bytesOf(prefix) + blockBytes * pool.blocksFor(length) > maxBytes) return undefined;
    const added = this.#insert(prefix);
    const { snapshot, isNew } = added;
    if (isNew) this.#admit(snapshot);
    else if (logits) this.#complete(snapshot, logits);
    this.#touch(snapshot);
    this.#evict();
    return added;
  }

  /** Adds logits to the snapshot of the first `length` tokens, if it is there and has none. */
  addLogits(tokenIds: readonly number[], length: number, logits: Float32Array, salt?: CacheSalt): void {
    const snapshot = this.#trees.get(salt)?.longest(tokenIds, (found) => found.length === length);
    if (!snapshot) return;
    this.#complete(snapshot, logits);
    this.#evict();
  }

  /** Adds a snapshot whatever the limit is. It stays until it is unpinned. */
  addPinned(prefix: CachedPrefix): AddedSnapshot {
    const added = this.#insert(prefix);
    const { snapshot, isNew } = added;
    if (isNew) this.#hold(snapshot);
    this.pin(snapshot);
    if (prefix.logits) snapshot.logits ??= prefix.logits.slice();
    return added;
  }

  pin(snapshot: Snapshot): void {
    if (snapshot.pins++ > 0 || !this.#evictable.has(snapshot.id)) return;
    this.#withdraw(snapshot);
    this.#hold(snapshot);
  }

  unpin(snapshot: Snapshot): void {
    // A snapshot that was dropped has no pins.
    if (!this.#pinned.has(snapshot)) return;
    snapshot.pins--;
    if (snapshot.pins > 0) return;
    this.#letGo(snapshot);
    this.#admit(snapshot);
    this.#evict();
  }

  /** Whether only snapshots hold a block. */
  isReclaimable(block: number): boolean {
    const { pool } = this.#options;
    return pool.references(block) === this.#evictableBlocks.of(block) + this.#pinnedBlocks.of(block);
  }

  /** Number of such blocks. */
  get numReclaimableBlocks(): number {
    let count = 0;
    for (const block of this.#evictableBlocks.blocks()) if (this.isReclaimable(block)) count++;
    for (const block of this.#pinnedBlocks.blocks()) {
      if (this.#evictableBlocks.of(block) === 0 && this.isReclaimable(block)) count++;
    }
    return count;
  }

  /** Drops snapshots until that many blocks are free. @returns false, with nothing dropped, if there are not enough. */
  reclaim(count: number): boolean {
    const { pool } = this.#options;
    if (pool.numFree >= count) return true;
    if (pool.numFree + this.numReclaimableBlocks < count) return false;
    while (pool.numFree < count) {
      const snapshot = this.#nextToReclaim();
      if (!snapshot) return false;
      this.#drop(snapshot);
    }
    return true;
  }

  has(snapshot: Snapshot): boolean {
    return snapshot.node.value === snapshot;
  }

  /** Forgets everything without telling the executor: the one that had it is gone. */
  clear(): void {
    for (const snapshot of [...this.#evictable.values(), ...this.#pinned]) this.#forget(snapshot);
  }

  stats(): CacheCounts {
    return {
      entries: this.#evictable.size + this.#pinned.size,
      bytes: this.#bytes,
      maxBytes: this.#options.maxBytes,
      queries: this.#queries,
      hits: this.#hits,
      queriedTokens: this.#queriedTokens,
      hitTokens: this.#hitTokens,
      evictions: this.#evictions,
    };
  }

  /** The blocks of each snapshot. */
  *heldBlocks(): Generator<readonly number[]> {
    for (const { blocks } of this.#snapshots()) yield blocks;
  }

  /** @throws IntegrityError when the counts contradict the kept snapshots. */
  checkIntegrity(): void {
    const kept = [...this.#snapshots()];
    const evictable = [...this.#evictable.values()];
    if ([...this.#trees.values()].some(({ isEmpty }) => isEmpty)) {
      throw new IntegrityError('The prefix cache keeps a tree without snapshots.');
    }
    if (kept.length !== evictable.length + this.#pinned.size || !kept.every((snapshot) => this.has(snapshot))) {
      throw new IntegrityError(`The prefix tree holds ${kept.length} snapshots, the cache ${this.stats().entries}.`);
    }
    const blocks = new Set(evictable.flatMap((snapshot) => snapshot.blocks));
    const ownBytes = evictable.reduce((sum, snapshot) => sum + this.#bytesOf(snapshot), 0);
    const bytes = ownBytes + this.#options.blockBytes * blocks.size;
    if (bytes !== this.#bytes || bytes > this.#options.maxBytes) {
      throw new IntegrityError(`The prefix cache counts ${this.#bytes} bytes, holds ${bytes}, and may hold less.`);
    }
    const isPinned = (snapshot: Snapshot) => snapshot.pins > 0;
    if (![...this.#pinned].every(isPinned) || evictable.some(isPinned)) {
      throw new IntegrityError('A snapshot is pinned and may be evicted, or the other way round.');
    }
  }

  get #bytes(): number {
    return this.#ownBytes + this.#options.blockBytes * this.#evictableBlocks.size;
  }

  #complete(snapshot: Snapshot, logits: Float32Array): void {
    if (snapshot.logits) return;
    snapshot.logits = logits.slice();
    if (this.#evictable.has(snapshot.id)) this.#ownBytes += logits.byteLength;
  }

  #touch(snapshot: Snapshot): void {
    if (this.#evictable.delete(snapshot.id)) this.#evictable.set(snapshot.id, snapshot);
  }

  *#snapshots(): Generator<Snapshot> {
    for (const tree of this.#trees.values()) yield* tree.values();
  }

  #insert({ salt, tokenIds, length, blocks, logits }: CachedPrefix): AddedSnapshot {
    const tree = this.#trees.get(salt) ?? new PrefixTree<Snapshot>();
    this.#trees.set(salt, tree);
    const node = tree.node(tokenIds, length);
    if (node.value) return { snapshot: node.value, isNew: false };
    const kept = this.#copied(logits, node, salt);
    this.#options.pool.retain(blocks);
    node.value = { id: this.#nextId++, salt, length, blocks, logits: kept, pins: 0, node };
    return { snapshot: node.value, isNew: true };
  }

  /** Memory for logits may be missing: then the tree is left as it was. */
  #copied(logits: Float32Array | undefined, node: Snapshot['node'], salt: CacheSalt): Float32Array | undefined {
    try {
      return logits?.slice();
    } catch (error) {
      this.#remove(node, salt);
      throw error;
    }
  }

  #remove(node: Snapshot['node'], salt: CacheSalt): void {
    const tree = this.#trees.get(salt);
    tree?.remove(node);
    // Salts may be as many as requests.
    if (tree?.isEmpty) this.#trees.delete(salt);
  }

  /** Lets a snapshot be evicted from now on. */
  #admit(snapshot: Snapshot): void {
    this.#evictable.set(snapshot.id, snapshot);
    this.#evictableBlocks.add(snapshot.blocks);
    this.#ownBytes += this.#bytesOf(snapshot);
  }

  #withdraw(snapshot: Snapshot): void {
    this.#evictable.delete(snapshot.id);
    this.#evictableBlocks.remove(snapshot.blocks);
    this.#ownBytes -= this.#bytesOf(snapshot);
  }

  #hold(snapshot: Snapshot): void {
    this.#pinned.add(snapshot);
    this.#pinnedBlocks.add(snapshot.blocks);
  }

  #letGo(snapshot: Snapshot): void {
    this.#pinned.delete(snapshot);
    this.#pinnedBlocks.remove(snapshot.blocks);
  }

  #evict(): void {
    for (const snapshot of this.#evictable.values()) {
      if (this.#bytes <= this.#options.maxBytes) return;
      this.#drop(snapshot);
    }
  }

  #drop(snapshot: Snapshot): void {
    this.#forget(snapshot);
    this.#evictions++;
    this.#options.onRelease(snapshot.id);
  }

  #forget(snapshot: Snapshot): void {
    if (this.#pinned.has(snapshot)) this.#letGo(snapshot);
    else this.#withdraw(snapshot);
    this.#remove(snapshot.node, snapshot.salt);
    this.#options.pool.release(snapshot.blocks);
  }

  /**
   * Snapshot to evict when blocks run out. Prefers one that is the sole owner of a block, since that spares the shorter
   * snapshots that share its others; else takes one whose blocks only snapshots share. Least recently used first, pinned
   * ones last.
   */
  #nextToReclaim(): Snapshot | undefined {
    const { pool } = this.#options;
    for (const snapshots of [[...this.#evictable.values()], [...this.#pinned]]) {
      const frees = snapshots.find(({ blocks }) => blocks.some((block) => pool.references(block) === 1));
      const found = frees ?? snapshots.find(({ blocks }) => blocks.some((block) => this.isReclaimable(block)));
      if (found) return found;
    }
    return undefined;
  }

  /** The state, the logits, and at most this much for the tokens, which snapshots share. */
  #bytesOf({ logits, length }: Pick<Snapshot, 'logits' | 'length'>): number {
    return this.#options.stateBytes + (logits?.byteLength ?? 0) + Int32Array.BYTES_PER_ELEMENT * length;
  }
}
