import type { LLM } from '../../engine/llm.ts';
import type { EngineRequest } from '../../engine/request/engine-request.ts';
import type { FinishReason, GuessCounts, RequestOutput } from '../../engine/request/request-output.ts';
import type { RequestStream } from '../../engine/request/request-stream.ts';
import type { SamplingParams } from '../../engine/sample/sampling-params.ts';
import { badRequest } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';

/** Arguments of a generation. */
export interface GenerationRequest {
  /** Unique id; each prompt's request appends a number. */
  readonly id: string;
  readonly prompts: readonly (readonly number[])[];
  /** Parameters of each prompt. */
  readonly params: readonly SamplingParams[];
  /** Token ids of the bad words of all prompts. */
  readonly badWordsTokenIds: readonly (readonly number[])[];
  /** Form that all answers must have. */
  readonly grammar: EngineRequest['grammar'];
  readonly priority: number | undefined;
  /** Salt of the states that the requests may reuse. */
  readonly cacheSalt: string | undefined;
  /** Aborted when the client has gone. */
  readonly signal: AbortSignal;
}

/** New output for one of the prompts. */
export interface GenerationOutput extends RequestOutput {
  readonly promptIndex: number;
}

/** A result of a prompt's stream, or its failure. */
interface Arrival {
  readonly promptIndex: number;
  readonly result?: IteratorResult<RequestOutput, undefined>;
  readonly failure?: { readonly error: unknown };
}

/** The engine's requests for one HTTP request: one per prompt, which are accepted together or not at all. */
export class Generation {
  readonly #prompts: GenerationRequest['prompts'];
  readonly #streams: RequestStream[] = [];
  readonly #cachedTokens: number[];
  readonly #guesses: (GuessCounts | undefined)[] = [];
  #completionTokens = 0;
  #finishReason: FinishReason | undefined;

  /**
   * @throws the engine's reason for refusing a request: QueueFullError, ShutdownError, …; HttpError 400 when there are
   * more prompts than ever fit.
   */
  constructor(llm: LLM, request: GenerationRequest) {
    const { id, prompts, params, badWordsTokenIds, grammar, priority, cacheSalt, signal } = request;
    const { capacity } = llm.engine;
    if (prompts.length > capacity) {
      const message = `There are ${prompts.length} prompts; ${capacity} can run and wait here at the same time (--max-num-seqs and --max-queue-size).`;
      throw badRequest(message, 'prompt', 'too_many');
    }
    this.#prompts = prompts;
    this.#cachedTokens = prompts.map(() => 0);
    const group = Symbol(id);
    // All streams have one reader, so the outputs that wait for it are limited as for one stream.
    const maxUnreadTokens = Math.ceil(llm.engine.maxUnreadTokens / prompts.length);
    try {
      for (const [i, promptTokenIds] of prompts.entries()) {
        const request = {
          requestId: `${id}-${i}`,
          promptTokenIds,
          params: params[i],
          badWordsTokenIds,
          grammar,
          priority,
          cacheSalt,
          group,
          maxUnreadTokens,
        };
        this.#streams.push(llm.engine.addRequest(request, signal));
      }
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /**
   * Outputs as they come. No output is asked for while the reader is busy, so a slow reader slows its requests down.
   */
  async *outputs(): AsyncGenerator<GenerationOutput, void> {
    try {
      const [only, ...others] = this.#streams;
      if (others.length === 0) {
        for await (const output of only) yield this.#count(output, 0);
      } else {
        yield* this.#merged();
      }
    } finally {
      this.cancel();
    }
  }

  /** Finish reason of the answer that ended first, once one has. */
  get finishReason(): FinishReason | undefined {
    return this.#finishReason;
  }

  /** Tokens so far. */
  usage(): Usage {
    const guesses = this.#guesses.flatMap((counts) => counts ?? []);
    const promptTokens = this.#prompts.reduce((sum, { length }) => sum + length, 0);
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: this.#cachedTokens.reduce((sum, count) => sum + count, 0) },
      ...(guesses.length > 0 && {
        completion_tokens_details: {
          accepted_prediction_tokens: guesses.reduce((sum, { accepted }) => sum + accepted, 0),
          rejected_prediction_tokens: guesses.reduce((sum, { rejected }) => sum + rejected, 0),
        },
      }),
    };
  }

  /** Aborts the unfinished requests. */
  cancel(): void {
    // Never rejects: returning from a stream only tells the engine.
    for (const stream of this.#streams) void stream.return();
  }

  /** Outputs of all streams through one queue. Each stream has one open call at a time. */
  async *#merged(): AsyncGenerator<GenerationOutput, void> {
    const arrived: Arrival[] = [];
    let wake = () => {};
    const ask = (promptIndex: number) => {
      const arrive = (arrival: Arrival) => {
        arrived.push(arrival);
        wake();
      };
      // An error that comes after another has ended the generation is ignored.
      this.#streams[promptIndex].next().then(
        (result) => arrive({ promptIndex, result }),
        (error: unknown) => arrive({ promptIndex, failure: { error } }),
      );
    };
    for (const promptIndex of this.#streams.keys()) ask(promptIndex);
    for (let open = this.#streams.length; open > 0; ) {
      const arrival = arrived.shift();
      if (!arrival) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const { promptIndex, result, failure } = arrival;
      if (failure) throw failure.error;
      if (!result || result.done) {
        open--;
        continue;
      }
      yield this.#count(result.value, promptIndex);
      ask(promptIndex);
    }
  }

  #count(output: RequestOutput, promptIndex: number): GenerationOutput {
    this.#cachedTokens[promptIndex] = output.numCachedTokens;
    this.#guesses[promptIndex] = output.guesses;
    for (const { tokens, finishReason } of output.outputs) {
      this.#completionTokens += tokens.length;
      this.#finishReason ??= finishReason ?? undefined;
    }
    return { ...output, promptIndex };
  }
}
