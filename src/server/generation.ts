import type { LLM } from '../engine/llm.ts';
import type { FinishReason, RequestOutput } from '../engine/request-output.ts';
import type { RequestStream } from '../engine/request-stream.ts';
import type { SamplingParams } from '../engine/sampling-params.ts';
import type { Usage } from './wire/usage.ts';

/** What a generation is made of. */
export interface GenerationRequest {
  /** Unique; a number is appended for each prompt. */
  readonly id: string;
  readonly prompts: readonly (readonly number[])[];
  /** One for each prompt. */
  readonly params: readonly SamplingParams[];
  readonly priority: number | undefined;
  /** The client is gone. */
  readonly signal: AbortSignal;
}

/** What is new for one of the prompts. */
export interface GenerationOutput extends RequestOutput {
  readonly promptIndex: number;
}

/** The engine's requests for one HTTP request: one per prompt, which are accepted together or not at all. */
export class Generation {
  readonly #prompts: GenerationRequest['prompts'];
  readonly #streams: RequestStream[] = [];
  readonly #cachedTokens: number[];
  #completionTokens = 0;
  #finishReason: FinishReason | undefined;

  /** @throws what the engine refuses a request with: QueueFullError, ShutdownError, … */
  constructor(llm: LLM, { id, prompts, params, priority, signal }: GenerationRequest) {
    this.#prompts = prompts;
    this.#cachedTokens = prompts.map(() => 0);
    const group = Symbol(id);
    try {
      for (const [i, promptTokenIds] of prompts.entries()) {
        const request = { requestId: `${id}-${i}`, promptTokenIds, params: params[i], priority, group };
        this.#streams.push(llm.engine.addRequest(request, signal));
      }
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  /** Outputs as they come. Nothing is asked of the engine while the reader is busy, so a slow one slows it down. */
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

  /** Of the answer that ended first, once one has. */
  get finishReason(): FinishReason | undefined {
    return this.#finishReason;
  }

  /** So far. */
  usage(): Usage {
    const promptTokens = this.#prompts.reduce((sum, { length }) => sum + length, 0);
    return {
      prompt_tokens: promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: this.#cachedTokens.reduce((sum, count) => sum + count, 0) },
    };
  }

  /** Drops what is unfinished. */
  cancel(): void {
    // Never rejects: it only tells the engine.
    for (const stream of this.#streams) void stream.return();
  }

  async *#merged(): AsyncGenerator<GenerationOutput, void> {
    const next = async (promptIndex: number) => ({ promptIndex, result: await this.#streams[promptIndex].next() });
    const pending = new Map(this.#streams.map((_, i) => [i, next(i)]));
    try {
      while (pending.size > 0) {
        const { promptIndex, result } = await Promise.race(pending.values());
        if (result.done) {
          pending.delete(promptIndex);
          continue;
        }
        pending.set(promptIndex, next(promptIndex));
        yield this.#count(result.value, promptIndex);
      }
    } finally {
      // The first error ends all; those of the others are nobody's.
      for (const promise of pending.values()) promise.catch(() => {});
    }
  }

  #count(output: RequestOutput, promptIndex: number): GenerationOutput {
    this.#cachedTokens[promptIndex] = output.numCachedTokens;
    for (const { tokens, finishReason } of output.outputs) {
      this.#completionTokens += tokens.length;
      this.#finishReason ??= finishReason ?? undefined;
    }
    return { ...output, promptIndex };
  }
}
