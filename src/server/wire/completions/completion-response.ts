import type { ChoiceEnd } from '../choice-end.ts';
import type { PromptLogprobsField } from '../prompt-logprobs.ts';
import type { Usage } from '../usage.ts';
import type { CompletionLogprobs } from './completion-logprobs.ts';

/** One answer of /v1/completions, or the new part of one. */
export interface CompletionResponseChoice extends ChoiceEnd {
  readonly index: number;
  readonly text: string;
  readonly logprobs: CompletionLogprobs | null;
  /** Field of vLLM, present with `return_token_ids`. */
  readonly prompt_token_ids?: readonly number[];
  /** Field of vLLM, present with `prompt_logprobs`. */
  readonly prompt_logprobs?: PromptLogprobsField;
}

/** An answer of /v1/completions, or an event of its stream. */
export interface CompletionResponse {
  readonly id: string;
  readonly object: 'text_completion';
  readonly created: number;
  readonly model: string;
  readonly choices: readonly CompletionResponseChoice[];
  /** Token counts. In a stream absent, or with `include_usage` null until the last event. */
  readonly usage?: Usage | null;
}
