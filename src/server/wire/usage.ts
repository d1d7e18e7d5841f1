/** Tokens of a request, as OpenAI counts them. */
export interface Usage {
  readonly prompt_tokens: number;
  /** Tokens of all answers. */
  readonly completion_tokens: number;
  readonly total_tokens: number;
  /** Prompt tokens whose state came from the prefix cache. */
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details?: CompletionTokensDetails;
}

/** Tokens of answers by kind. */
export interface CompletionTokensDetails {
  /** Tokens of thoughts, which completion_tokens includes; present for models that think. */
  readonly reasoning_tokens?: number;
  /** Tokens that were guessed and right, which completion_tokens includes; present where tokens are guessed. */
  readonly accepted_prediction_tokens?: number;
  /** Tokens that were guessed and wrong, which cost time only. */
  readonly rejected_prediction_tokens?: number;
}
