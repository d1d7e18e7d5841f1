import type { FinishReason } from '../../engine/request/request-output.ts';
import type { CompletionLogprobs } from './completion-logprobs.ts';
import type { HalfLivesField } from './half-lives.ts';
import type { Usage } from './usage.ts';

/** One answer of /v1/completions, or what is new of it. */
export interface CompletionChoice {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  readonly finish_reason: FinishReason | null;
  /** vLLM's: the stop string or token; null for the model's own end of text. */
  readonly stop_reason: string | number | null;
  /** vLLM's, with `return_token_ids`. */
  readonly token_ids?: readonly number[];
  readonly prompt_token_ids?: readonly number[];
  /** With `half_life_interval`, the latest report. */
  readonly half_lives?: HalfLivesField;
}

/** An answer of /v1/completions, or an event of its stream. */
export interface CompletionResponse {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly CompletionChoice[];
  /** In a stream with `include_usage` null until the last event; without it absent. */
  readonly usage?: Usage | null;
}
