import type { CompletionOutput, OutputToken, RequestOutput } from './request-output.ts';

/** Numbers of half-lives and of logprobs that count as one unread token: so they too are bounded for slow readers. */
const HALF_LIVES_PER_TOKEN = 256;
const LOGPROBS_PER_TOKEN = 2;

/** Unread tokens of one answer. */
interface UnreadCompletion {
  text: string;
  readonly tokens: OutputToken[];
  finishReason: CompletionOutput['finishReason'];
  stopReason: CompletionOutput['stopReason'];
}

/** Calls from a stream to the engine that fills it. */
export interface StreamCallbacks {
  /** The reader took what there was. */
  readonly onRead: () => void;
  /** The reader left before the end. */
  readonly onReturn: () => void;
}

/**
 * The outputs of one request, for one reader. A reader that comes late finds all that it missed as one output, so what
 * is kept does not grow with the number of steps.
 *
 * @example
 * ```ts
 * const params = llm.resolveSamplingParams({ maxTokens: 20 });
 * const promptTokenIds = await llm.encode('Once upon');
 * for await (const { outputs, finished } of llm.engine.addRequest({ promptTokenIds, params })) {
 *   console.log(outputs.map(({ text }) => text), finished);
 * }
 * ```
 */
export class RequestStream implements AsyncIterableIterator<RequestOutput, undefined> {
  readonly requestId: string;
  readonly #callbacks: StreamCallbacks;
  readonly #unread = new Map<number, UnreadCompletion>();
  #unreadTokens = 0;
  /** The last output, for the fields that are not merged. */
  #latest: RequestOutput | undefined;
  #promptLogprobs: RequestOutput['promptLogprobs'];
  #finished = false;
  /** Error that the reader gets after the tokens. */
  #failure: { readonly reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(requestId: string, callbacks: StreamCallbacks) {
    this.requestId = requestId;
    this.#callbacks = callbacks;
  }

  /** Tokens of all answers that wait for the reader. Logprobs and reports of half-lives count as tokens by their size. */
  get unreadTokens(): number {
    return this.#unreadTokens;
  }

  push(output: RequestOutput): void {
    if (this.#finished) return;
    for (const completion of output.outputs) this.#merge(completion);
    this.#latest = output;
    this.#promptLogprobs ??= output.promptLogprobs;
    this.#finished = output.finished;
    this.#failure = output.error && { reason: output.error };
    this.#wake?.();
  }

  /** Ends the stream with an error. Unread tokens are dropped. */
  fail(reason: unknown): void {
    if (this.#finished && this.#latest === undefined) return;
    this.#finished = true;
    this.#latest = undefined;
    this.#forgetUnread();
    this.#failure = { reason };
    this.#wake?.();
  }

  /** All that came since the last call; waits if there is nothing. Rejects with the request's error after its tokens. */
  async next(): Promise<IteratorResult<RequestOutput, undefined>> {
    while (this.#latest === undefined && !this.#finished) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const output = this.#take();
    if (output) return { done: false, value: output };
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.reason;
    return { done: true, value: undefined };
  }

  /** Leaves the stream; the engine drops the request. */
  async return(): Promise<IteratorResult<RequestOutput, undefined>> {
    if (!this.#finished) this.#callbacks.onReturn();
    this.#finished = true;
    this.#latest = undefined;
    this.#failure = undefined;
    this.#forgetUnread();
    this.#wake?.();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #merge({ index, text, tokens, finishReason, stopReason }: CompletionOutput): void {
    const unread = this.#unread.get(index);
    for (const token of tokens) this.#unreadTokens += unreadTokensOf(token);
    if (!unread) {
      this.#unread.set(index, { text, tokens: [...tokens], finishReason, stopReason });
      return;
    }
    unread.text += text;
    for (const token of tokens) unread.tokens.push(token);
    unread.finishReason = finishReason;
    unread.stopReason = stopReason;
  }

  #forgetUnread(): void {
    this.#unread.clear();
    this.#unreadTokens = 0;
  }

  /** An error is thrown by the call after the one that gets the last tokens. */
  #take(): RequestOutput | undefined {
    const latest = this.#latest;
    if (!latest) return undefined;
    const { error: _, ...rest } = latest;
    const outputs = [...this.#unread]
      .map(([index, unread]) => ({ index, ...unread }))
      .sort((a, b) => a.index - b.index);
    const promptLogprobs = this.#promptLogprobs;
    this.#forgetUnread();
    this.#latest = undefined;
    this.#promptLogprobs = undefined;
    this.#callbacks.onRead();
    if (latest.error && outputs.length === 0) return undefined;
    return { ...rest, ...(promptLogprobs && { promptLogprobs }), outputs };
  }
}

function unreadTokensOf({ halfLives = [], topLogprobs = [] }: OutputToken): number {
  const numHalfLives = halfLives.reduce((sum, { length }) => sum + length, 0);
  return 1 + numHalfLives / HALF_LIVES_PER_TOKEN + topLogprobs.length / LOGPROBS_PER_TOKEN;
}
