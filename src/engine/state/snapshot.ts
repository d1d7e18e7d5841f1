import type { PrefixNode } from './prefix-tree.ts';

/**
 * Who shares cached states: requests with the same salt, and those without any. A string may be guessed; a symbol is known
 * to its owner only.
 */
export type CacheSalt = string | symbol | undefined;

/** The state after some tokens, their keys and values, and the logits that follow them where they are known. */
export interface Snapshot {
  /** Under which the executor keeps the state. */
  readonly id: number;
  readonly salt: CacheSalt;
  /** Tokens that led to it. */
  readonly length: number;
  /** Those of its tokens. What lies in the last one behind them is not the snapshot's. */
  readonly blocks: readonly number[];
  /** (vocabSize): a request for exactly these tokens needs no step. */
  logits: Float32Array | undefined;
  /** Owners who need it to stay. */
  pins: number;
  readonly node: PrefixNode<Snapshot>;
}

/** What to keep, and of which tokens. */
export interface CachedPrefix {
  readonly salt: CacheSalt;
  /** These and more. */
  readonly tokenIds: readonly number[];
  readonly length: number;
  /** Those of these tokens. */
  readonly blocks: readonly number[];
  readonly logits: Float32Array | undefined;
}

/** isNew: the executor has yet to take the snapshot. */
export interface AddedSnapshot {
  readonly snapshot: Snapshot;
  readonly isNew: boolean;
}
