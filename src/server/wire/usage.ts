/** Tokens of a request, as OpenAI counts them. */
export interface Usage {
  readonly prompt_tokens: number;
  /** Tokens of all answers. */
  readonly completion_tokens: number;
  readonly total_tokens: number;
  /** Prompt tokens whose state came from the prefix cache. */
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  /** Tokens of thoughts, which completion_tokens includes; present for models that think. */
  readonly completion_tokens_details?: { readonly reasoning_tokens: number };
}
