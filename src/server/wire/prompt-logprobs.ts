import type { PromptTokenLogprob } from '../../engine/sample/token-logprob.ts';
import { TokenTexts } from '../../text/token-texts.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { badRequest } from './http-error.ts';

/** A token in a place of the prompt, as vLLM writes it. */
export interface PromptLogprob {
  readonly logprob: number;
  /** Number of tokens at least as likely there, itself included. */
  readonly rank: number;
  readonly decoded_token: string;
}

/** Each prompt token and the likeliest in its place, by their ids; null for the first. */
export type PromptLogprobsField = readonly (Readonly<Record<string, PromptLogprob>> | null)[];

/** @throws HttpError 400 where a stream is to have the prompt's logprobs, which vLLM does not send either. */
export function assertWhole(body: {
  readonly stream?: boolean | undefined;
  readonly prompt_logprobs?: number | undefined;
}): void {
  if (!body.stream || body.prompt_logprobs === undefined) return;
  const message = "'prompt_logprobs' are not sent with 'stream': true. Ask for the whole answer.";
  throw badRequest(message, 'prompt_logprobs', 'invalid_value');
}

/** The larger of two numbers that may be missing. */
export function mostOf(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.max(a, b);
}

/** The places of a prompt, in order. @param count of the likeliest in each. */
export function* promptLogprobsField(
  logprobs: Iterable<PromptTokenLogprob | null>,
  count: number,
  tokenizer: TextTokenizer | undefined,
): Generator<PromptLogprobsField[number], void> {
  const texts = new TokenTexts(tokenizer, { skipSpecialTokens: false });
  for (const place of logprobs) yield place && placeField(place, count, texts);
}

function placeField(
  { tokenId: id, logprob, rank, topLogprobs }: PromptTokenLogprob,
  count: number,
  texts: TokenTexts,
): Readonly<Record<string, PromptLogprob>> {
  const top = topLogprobs.slice(0, count);
  const { token, others } = texts.next({ id, others: top.map(({ tokenId }) => tokenId) });
  const written = top.map(({ tokenId, logprob }, i) => {
    return [tokenId, { logprob, rank: i + 1, decoded_token: others[i].token }] as const;
  });
  return Object.fromEntries([...written, [id, { logprob, rank, decoded_token: token }]]);
}
