import { IntegrityError } from '../errors.ts';
import type { PrefixCacheStats } from './engine-stats.ts';
import { type PrefixNode, PrefixTree } from './prefix-tree.ts';

/** The state after some tokens, and the logits that follow them where they are known. */
export interface Snapshot {
  /** Under which the executor keeps the state. */
  readonly id: number;
  /** Tokens that led to it. */
  readonly length: number;
  /** (vocabSize): a request for exactly these tokens needs no step. */
  logits: Float32Array | undefined;
  /** Owners who need it to stay. */
  pins: number;
  readonly node: PrefixNode<Snapshot>;
}

export interface PrefixCacheOptions {
  /** Of one state. */
  readonly stateBytes: number;
  /** Of all snapshots that nobody has pinned. */
  readonly maxBytes: number;
  /** The executor may drop this snapshot. */
  readonly onRelease: (id: number) => void;
}

/** isNew: the executor has yet to take the snapshot. */
export interface AddedSnapshot {
  readonly snapshot: Snapshot;
  readonly isNew: boolean;
}

/**
 * Snapshots by the tokens that led to them, least recently used first out. Whether a snapshot fits a sequence is decided
 * by comparing tokens. What is pinned stays, and does not count against the limit.
 */
export class PrefixCache {
  readonly #options: PrefixCacheOptions;
  readonly #tree = new PrefixTree<Snapshot>();
  /** Not pinned, least recently used first. */
  readonly #evictable = new Map<number, Snapshot>();
  readonly #pinned = new Set<Snapshot>();
  #nextId = 0;
  #bytes = 0;
  #queries = 0;
  #hits = 0;
  #queriedTokens = 0;
  #hitTokens = 0;
  #evictions = 0;

  constructor(options: PrefixCacheOptions) {
    this.#options = options;
  }

  /**
   * The snapshot of the longest beginning of these tokens. Of all of them only one that knows its logits is of use:
   * they are what a sequence goes on from.
   */
  match(tokenIds: readonly number[]): Snapshot | undefined {
    const usable = ({ length, logits }: Snapshot) => length < tokenIds.length || logits !== undefined;
    const found = this.#tree.longest(tokenIds, usable);
    this.#queries++;
    this.#queriedTokens += tokenIds.length;
    if (!found) return undefined;
    this.#hits++;
    this.#hitTokens += found.length;
    this.#touch(found);
    return found;
  }

  /** Makes room for the state after the first `length` tokens. undefined: the limit leaves none. */
  add(tokenIds: readonly number[], length: number, logits: Float32Array | undefined): AddedSnapshot | undefined {
    if (this.#bytesOf({ length, logits }) > this.#options.maxBytes) return undefined;
    const added = this.#insert(tokenIds, length, logits);
    const { snapshot, isNew } = added;
    if (isNew) {
      this.#bytes += this.#bytesOf(snapshot);
      this.#evictable.set(snapshot.id, snapshot);
    } else if (logits && !snapshot.logits) {
      snapshot.logits = logits.slice();
      if (this.#evictable.has(snapshot.id)) this.#bytes += logits.byteLength;
    }
    this.#touch(snapshot);
    this.#evict();
    return added;
  }

  /** The same whatever the limit says. The snapshot stays until it is unpinned. */
  addPinned(tokenIds: readonly number[], length: number, logits: Float32Array | undefined): AddedSnapshot {
    const added = this.#insert(tokenIds, length, logits);
    const { snapshot } = added;
    this.pin(snapshot);
    this.#pinned.add(snapshot);
    if (logits) snapshot.logits ??= logits.slice();
    return added;
  }

  pin(snapshot: Snapshot): void {
    snapshot.pins++;
    if (!this.#evictable.delete(snapshot.id)) return;
    this.#bytes -= this.#bytesOf(snapshot);
    this.#pinned.add(snapshot);
  }

  unpin(snapshot: Snapshot): void {
    // What was dropped with everything else has no pins to take.
    if (!this.#pinned.has(snapshot)) return;
    snapshot.pins--;
    if (snapshot.pins > 0) return;
    this.#pinned.delete(snapshot);
    this.#bytes += this.#bytesOf(snapshot);
    this.#evictable.set(snapshot.id, snapshot);
    this.#evict();
  }

  has(snapshot: Snapshot): boolean {
    return snapshot.node.value === snapshot;
  }

  /** Forgets everything without releasing it: the executor that had it is gone. */
  clear(): void {
    for (const snapshot of [...this.#evictable.values(), ...this.#pinned]) this.#tree.remove(snapshot.node);
    this.#evictable.clear();
    this.#pinned.clear();
    this.#bytes = 0;
  }

  stats(): PrefixCacheStats {
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

  /** @throws IntegrityError when the counts are not those of what is kept. */
  checkIntegrity(): void {
    const kept = [...this.#tree.values()];
    const bytes = [...this.#evictable.values()].reduce((sum, snapshot) => sum + this.#bytesOf(snapshot), 0);
    if (kept.length !== this.#evictable.size + this.#pinned.size || !kept.every((snapshot) => this.has(snapshot))) {
      throw new IntegrityError(`The prefix tree holds ${kept.length} snapshots, the cache ${this.stats().entries}.`);
    }
    if (bytes !== this.#bytes || bytes > this.#options.maxBytes) {
      throw new IntegrityError(`The prefix cache counts ${this.#bytes} bytes, holds ${bytes}, and may hold less.`);
    }
    const isPinned = (snapshot: Snapshot) => snapshot.pins > 0;
    if (![...this.#pinned].every(isPinned) || [...this.#evictable.values()].some(isPinned)) {
      throw new IntegrityError('A snapshot is pinned and may be evicted, or the other way round.');
    }
  }

  #touch(snapshot: Snapshot): void {
    if (this.#evictable.delete(snapshot.id)) this.#evictable.set(snapshot.id, snapshot);
  }

  #insert(tokenIds: readonly number[], length: number, logits: Float32Array | undefined): AddedSnapshot {
    const node = this.#tree.node(tokenIds, length);
    if (node.value) return { snapshot: node.value, isNew: false };
    node.value = { id: this.#nextId++, length, logits: logits?.slice(), pins: 0, node };
    return { snapshot: node.value, isNew: true };
  }

  #evict(): void {
    for (const snapshot of this.#evictable.values()) {
      if (this.#bytes <= this.#options.maxBytes) return;
      this.#evictable.delete(snapshot.id);
      this.#bytes -= this.#bytesOf(snapshot);
      this.#tree.remove(snapshot.node);
      this.#evictions++;
      this.#options.onRelease(snapshot.id);
    }
  }

  /** The state, the logits, and at most this much for the tokens, which snapshots share. */
  #bytesOf({ logits, length }: Pick<Snapshot, 'logits' | 'length'>): number {
    return this.#options.stateBytes + (logits?.byteLength ?? 0) + Int32Array.BYTES_PER_ELEMENT * length;
  }
}
