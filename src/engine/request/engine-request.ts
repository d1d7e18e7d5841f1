import type { TokenGrammar } from '../../grammar/grammars.ts';
import type { SamplingParams } from '../sample/sampling-params.ts';
import type { CacheSalt, Snapshot } from '../state/snapshot.ts';

/** A prompt and how to answer it. */
export interface EngineRequest {
  /** Unique among unfinished requests. Default: a number that the engine gives. */
  readonly requestId?: string | undefined;
  /** At least one, all inside the vocabulary. */
  readonly promptTokenIds: readonly number[];
  /** `maxTokens` 0 evaluates the prompt and generates nothing. */
  readonly params: SamplingParams;
  /** Token ids of the params' bad words, if they are encoded already, which takes long. The engine does not copy them. */
  readonly badWordsTokenIds?: readonly (readonly number[])[] | undefined;
  /** The compiled form of the params' structuredOutputs: compiling takes long. */
  readonly grammar?: TokenGrammar | undefined;
  /** Lower goes first, and may take the slot of a running request that is higher. Default: 0. */
  readonly priority?: number | undefined;
  /** The request uses states that requests with the same salt have left in the prefix cache, and leaves its own to them. */
  readonly cacheSalt?: CacheSalt;
  /**
   * Key of requests that belong together, such as the prompts of one call: they count as one in the queue, and take
   * turns with others. Default: it stands alone.
   */
  readonly group?: symbol | undefined;
  /** Tokens that may lie unread; then the request waits for its reader. Default: the engine's `maxUnreadTokens`. */
  readonly maxUnreadTokens?: number | undefined;
  /**
   * Receives the logits of every prompt position, step by step: rows (tokens, vocabSize) and the position of the
   * first. The array is the receiver's only until it returns. Such a request takes nothing from the prefix cache.
   */
  readonly onPromptLogits?: ((logits: Float32Array, firstPosition: number) => void) | undefined;
  /** Receives the state at the end of the (first) answer, which the receiver then owns: see `SavedStates`. */
  readonly onFinalState?: ((state: Snapshot) => void) | undefined;
}
