import type { PrefixNode } from './prefix-tree.ts';

/**
 * Separates parts of the prefix cache: requests with the same salt share cached states, and so do those without one. A
 * string may be guessed; a symbol is known to its owner only.
 */
export type CacheSalt = string | symbol | undefined;

/** The state after some tokens, their keys and values, and the logits that follow them where they are known. */
export interface Snapshot {
  /** Number under which the executor keeps the state. */
  readonly id: number;
  readonly salt: CacheSalt;
  /** Number of tokens that led to it. */
  readonly length: number;
  /** Blocks of its tokens. The last block may also hold later tokens, which are not the snapshot's. */
  readonly blocks: readonly number[];
  /** Logits (vocabSize) after its tokens: a request for exactly these tokens needs no step. */
  logits: Float32Array | undefined;
  /** Number of owners that need it to stay. */
  pins: number;
  readonly node: PrefixNode<Snapshot>;
}

/** A state to cache, by the tokens that led to it. */
export interface CachedPrefix {
  readonly salt: CacheSalt;
  /** The tokens, and maybe later ones. */
  readonly tokenIds: readonly number[];
  readonly length: number;
  /** Blocks of the first `length` tokens. */
  readonly blocks: readonly number[];
  readonly logits: Float32Array | undefined;
}

/** A cached snapshot. `isNew`: the executor has yet to save it. */
export interface AddedSnapshot {
  readonly snapshot: Snapshot;
  readonly isNew: boolean;
}
