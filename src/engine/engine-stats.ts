import type { FinishReason } from './request/request-output.ts';
import type { PrefixCacheStats } from './state/prefix-cache.ts';
import type { StateStoreStats } from './store/store-events.ts';

/** The engine at this moment, and totals since it started. */
export interface EngineStats {
  /** Requests that wait for a slot, and those that have one. */
  readonly waitingRequests: number;
  readonly runningRequests: number;
  readonly slots: number;
  readonly freeSlots: number;
  /** Blocks of the key-value cache; 0 without attention. Blocks of the prefix cache are not free, but can be reclaimed. */
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly steps: number;
  /** Prompt tokens processed, without those from the prefix cache; answer tokens processed, with those that were guessed. */
  readonly prefillTokens: number;
  readonly decodeTokens: number;
  /** Answer tokens that were given out. */
  readonly completionTokens: number;
  readonly preemptions: number;
  readonly recoveries: number;
  readonly finishedRequests: Readonly<Record<FinishReason | 'abort' | 'error', number>>;
  readonly refusedRequests: number;
  /** Absent where the model was not loaded to guess tokens. */
  readonly speculation?: SpeculationStats | undefined;
  readonly prefixCache: PrefixCacheStats;
  /** Absent without a store of states. */
  readonly stateStore?: StateStoreStats | undefined;
}

/** Guesses at the tokens of answers. */
export interface SpeculationStats {
  /** Guesses that were checked. */
  readonly drafts: number;
  /** Their tokens. */
  readonly draftTokens: number;
  /** How often the first token of a guess was right, its second, and so on. */
  readonly acceptedTokensPerPosition: readonly number[];
}
