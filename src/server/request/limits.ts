/** Limits of one request. A request beyond them is refused with 400, a larger body with 413. */
export interface RequestLimits {
  /** Default: 4 MiB. */
  readonly maxBodyBytes: number;
  /**
   * Tokens of a prompt and its answer together. Default: 16384, or the engine's limit where that is lower (models with
   * attention have one).
   */
  readonly maxModelLen: number;
  /** Answers of one request: prompts times `n`. Default: 128. */
  readonly maxAnswers: number;
  /** Entries of each list: stop strings, stop tokens, bad words, biased tokens. Default: 256. */
  readonly maxListLength: number;
  /**
   * Memory that prompts and answers of one request may take until it has ended, logprobs included: see `answerBytes`.
   * Default: 128 MiB, enough for 128 answers of 16384 tokens without logprobs.
   */
  readonly maxAnswerBytes: number;
  /** Memory for prompts and answers of all requests together; further ones get 429. Default: 512 MiB. */
  readonly maxPendingBytes: number;
  /**
   * Seconds in which a short text must have become tokens, or a conversation a text; long ones have 60 microseconds
   * more for each character. Default: 5.
   */
  readonly maxTextSeconds: number;
}

export const DEFAULT_LIMITS: RequestLimits = {
  maxBodyBytes: 4 * 2 ** 20,
  maxModelLen: 16384,
  maxAnswers: 128,
  maxListLength: 256,
  maxAnswerBytes: 128 * 2 ** 20,
  maxPendingBytes: 512 * 2 ** 20,
  maxTextSeconds: 5,
};

/** Order of requests, under vLLM's names: by arrival, or by `priority`. */
export const SCHEDULING_POLICIES = ['fcfs', 'priority'] as const;
export type SchedulingPolicy = (typeof SCHEDULING_POLICIES)[number];
