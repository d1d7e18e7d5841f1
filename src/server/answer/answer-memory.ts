import { logprobBytes } from '../../engine/request/logprob-columns.ts';
import type { SamplingParams } from '../../engine/sample/sampling-params.ts';
import type { RequestLimits } from '../request/limits.ts';
import { badRequest, HttpError } from '../wire/http-error.ts';

const MIB = 2 ** 20;

/** Bytes of a token id in a list of numbers, spare room included. */
const TOKEN_ID = 12;
/** Bytes of a token's text: most have a few characters of one or two bytes. */
const TOKEN_TEXT = 16;
/** Bytes of a token of a stream that waits to be read or sent; logprobs are counted separately. */
const UNREAD_TOKEN = 256;
/** Bytes of a prompt token's rank. */
const RANK = 8;
/** Bytes of a report of half-lives; an answer keeps the latest. */
const HALF_LIVES = 64 * 1024;

/** Facts that decide how much memory an answer takes. */
export interface AnswerSize {
  readonly prompts: readonly (readonly number[])[];
  /** Parameters of each prompt. */
  readonly params: readonly SamplingParams[];
  /** Whether the answer is sent while it grows. */
  readonly isStream: boolean;
  /** Tokens of all answers that may wait for the reader: see `maxUnreadTokens`. */
  readonly maxUnreadTokens: number;
}

/** Bytes that a request may take from its acceptance to its end, prompts included: rather too many than too few. */
export function answerBytes({ prompts, params, isStream, maxUnreadTokens }: AnswerSize): number {
  let total = isStream ? 2 * maxUnreadTokens * UNREAD_TOKEN : 0;
  for (const [i, { length }] of prompts.entries()) {
    const { n, maxTokens, logprobs, promptLogprobs, halfLifeInterval } = params[i];
    // A list of the prompt's tokens for the request, and one for each answer, which continues it.
    total += TOKEN_ID * (length + n * (length + maxTokens));
    if (promptLogprobs !== undefined) total += length * (logprobBytes(promptLogprobs) + RANK + TOKEN_TEXT);
    if (isStream) continue;
    const perToken = TOKEN_TEXT + logprobBytes(logprobs ?? 0);
    total += n * (maxTokens * perToken + (halfLifeInterval === undefined ? 0 : HALF_LIVES));
  }
  return total;
}

/** Limits for the memory of one request, and of all together. */
export class AnswerMemory {
  readonly #limits: Pick<RequestLimits, 'maxAnswerBytes' | 'maxPendingBytes'>;
  #reserved = 0;

  constructor(limits: Pick<RequestLimits, 'maxAnswerBytes' | 'maxPendingBytes'>) {
    this.#limits = limits;
  }

  /** Bytes of requests that have not ended. */
  get reservedBytes(): number {
    return this.#reserved;
  }

  /**
   * Takes a request's share. @returns a function that gives it back, once.
   * @throws HttpError 400 when one request may not take so much, 429 when other requests have taken it.
   */
  reserve(bytes: number): () => void {
    const { maxAnswerBytes, maxPendingBytes } = this.#limits;
    const most = Math.min(maxAnswerBytes, maxPendingBytes);
    if (bytes > most) {
      const message = `Prompts and answers of this request may take ${mebibytes(bytes)} MiB; this server takes requests of up to ${mebibytes(most)} MiB. Ask for fewer prompts, answers (n), tokens or logprobs.`;
      throw badRequest(message, undefined, 'too_many');
    }
    if (this.#reserved + bytes > maxPendingBytes) {
      const message = `The answers that are under way may take all ${mebibytes(maxPendingBytes)} MiB that there are for them. Try again later.`;
      throw new HttpError(429, message, { code: 'queue_full', headers: { 'retry-after': '1' } });
    }
    this.#reserved += bytes;
    let isReserved = true;
    return () => {
      if (isReserved) this.#reserved -= bytes;
      isReserved = false;
    };
  }
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / MIB);
}
