/** A token and the natural log of its probability under the model, before penalties and temperature. */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** A token, and the likeliest ones in its place. */
export interface RankedTokenLogprob extends TokenLogprob {
  /** As many as `logprobs` or `promptLogprobs` asked for, likeliest first. */
  readonly topLogprobs: readonly TokenLogprob[];
}

/** A token of the prompt, given those before it. */
export interface PromptTokenLogprob extends RankedTokenLogprob {
  /** Number of tokens at least as likely in its place, itself included: 1 for the likeliest. */
  readonly rank: number;
}
