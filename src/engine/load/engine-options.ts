import type { TextTokenizer } from '../../text/tokenizer.ts';
import type { Executor } from '../run/executor.ts';
import type { DraftSource } from '../speculate/speculation.ts';
import type { SpeculativeConfig } from '../speculate/speculative-config.ts';
import type { SharedStatesSource } from '../store/shared-states.ts';

/** Limits of an engine. */
export interface EngineLimits {
  /** Requests that may wait for a slot; one more is refused with QueueFullError. Default: no limit. */
  readonly maxQueueSize?: number | undefined;
  /**
   * Tokens of prompt and answer together: a longer prompt is refused with ContextLengthError, an answer ends there.
   * Default: no limit, or what the key-value cache holds of one sequence.
   */
  readonly maxModelLen?: number | undefined;
  /** Keep states of token prefixes for later requests. Default: true. */
  readonly enablePrefixCaching?: boolean | undefined;
  /** Memory for those states, and for blocks that only they hold. Default: 512 MiB. */
  readonly prefixCacheBytes?: number | undefined;
  /** Tokens between two states that are kept of one sequence. Default: 256. */
  readonly snapshotInterval?: number | undefined;
  /**
   * Tokens of a request that may lie unread; then it waits for its reader. Logprobs and half-lives count by their size.
   * Default: 4096.
   */
  readonly maxUnreadTokens?: number | undefined;
  /**
   * Several tokens a step where the next ones can be guessed: each step checks the guess of the last one, and what it says is what
   * steps of one token would have said. Default: none are guessed.
   */
  readonly speculativeConfig?: SpeculativeConfig | undefined;
}

/** Parts and limits of an engine. */
export interface EngineContext extends EngineLimits {
  /** Number of answers that run at the same time: the executor's slots. */
  readonly maxNumSeqs: number;
  /** Tokens processed in one step. Decodes come first; prompts get the rest. */
  readonly maxNumBatchedTokens: number;
  readonly executor: Executor;
  /** Loads the executor again after it has failed. Without it a failure ends the engine. */
  readonly reloadExecutor?: ((signal: AbortSignal) => Promise<Executor>) | undefined;
  /** Milliseconds before the second try in a row to do so; doubled before each further one. Default: 500. */
  readonly reloadPause?: number | undefined;
  /** States that several engines share. */
  readonly sharedStates?: SharedStatesSource | undefined;
  /** Source of guesses, in place of the text itself: a model that `speculativeConfig` names. Disposed of with the engine. */
  readonly draftSource?: DraftSource | undefined;
  readonly tokenizer: TextTokenizer | undefined;
  readonly eosTokenIds: readonly number[];
  readonly vocabSize: number;
}
