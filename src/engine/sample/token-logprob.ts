/** A token and the natural log of its probability under the model, before penalties and temperature. */
export interface TokenLogprob {
  readonly tokenId: number;
  readonly logprob: number;
}

/** A token of the prompt, given those before it. */
export interface PromptTokenLogprob extends TokenLogprob {
  /** Number of tokens at least as likely in its place, itself included: 1 for the likeliest. */
  readonly rank: number;
  /** The likeliest tokens in this one's place, as many as `promptLogprobs` says, likeliest first. */
  readonly topLogprobs: readonly TokenLogprob[];
}
