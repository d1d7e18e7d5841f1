import type { TokenLogprob } from '../sample/token-logprob.ts';
import type { HalfLives } from './half-lives.ts';
import type { PromptLogprobs } from './logprob-columns.ts';

/** Why an answer ended: a stop string or token, or the token limit. */
export type FinishReason = 'stop' | 'length';

/** One token of an answer. */
export interface OutputToken extends TokenLogprob {
  /** Text that this token made certain. Empty while a character or a possible stop string is incomplete. */
  readonly text: string;
  /** The likeliest tokens in its place, likeliest first: as many as `logprobs` asked for. Absent where it did not. */
  readonly topLogprobs?: readonly TokenLogprob[];
  /**
   * How long the model remembers, by the tokens that it has read since the last such report: those before this one,
   * without those whose state came from the prefix cache. As often as `halfLifeInterval` says.
   */
  readonly halfLives?: HalfLives;
}

/** News of one of a request's answers. */
export interface CompletionOutput {
  /** Number of the answer among the `n`, from 0 on. */
  readonly index: number;
  /** The tokens' text, joined. */
  readonly text: string;
  readonly tokens: readonly OutputToken[];
  /** Reason why the answer ended, set with its last token. */
  readonly finishReason: FinishReason | null;
  /** The stop string or token that ended the answer; null for the model's own end of text. */
  readonly stopReason: string | number | null;
}

/** Guessed tokens of all of a request's answers, by what became of them. */
export interface GuessCounts {
  readonly accepted: number;
  readonly rejected: number;
}

/** News of a request since its last output. */
export interface RequestOutput {
  readonly requestId: string;
  /** Prompt tokens whose state came from the prefix cache. */
  readonly numCachedTokens: number;
  /**
   * One entry per prompt token, null for the first: there is nothing before it. In the first output only, and only
   * where `promptLogprobs` asked for it.
   */
  readonly promptLogprobs?: PromptLogprobs;
  /** Tokens that were guessed so far; present where the model was loaded to guess some. */
  readonly guesses?: GuessCounts;
  /** Answers with something new, by index. */
  readonly outputs: readonly CompletionOutput[];
  /** Whether this is the last output. */
  readonly finished: boolean;
  /** Why the request ended before its answers did. */
  readonly error?: Error;
}
