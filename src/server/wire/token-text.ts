import type { TokenLogprob } from '../../engine/request-output.ts';

/** The text of one token alone; parts of a character are U+FFFD. */
export type TokenText = (tokenId: number) => string;

/** A token and the likeliest in its place. */
export interface TokenWithTop extends TokenLogprob {
  readonly topLogprobs?: readonly TokenLogprob[];
}
