/// <reference path="../../../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A model in the process as one of the Vercel AI SDK.
 *
 * @module mamba2/ai-sdk
 */
import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4GenerateResult,
  LanguageModelV4StreamPart,
  LanguageModelV4StreamResult,
} from '@ai-sdk/provider';
import type { LLM } from '../../engine/llm.ts';
import { modelName, mostTokens } from '../model-facts.ts';
import { callPlan } from './call-options.ts';
import { chatMessages } from './messages.ts';
import { content, finishReason, usage } from './results.ts';
import { StreamParts } from './stream-parts.ts';

/** Settings of a model for the AI SDK. */
export interface Mamba2ModelSettings {
  /** Name of the model in results. Default: the last part of its folder. */
  readonly modelId?: string | undefined;
}

/**
 * A loaded model for the AI SDK's `generateText`, `streamText` and agents, without a server: in Node and in browsers.
 * Tools, JSON schemas, reasoning and abort signals work; options that mean nothing here come back as warnings.
 *
 * @example
 * ```ts
 * import { generateText } from 'ai';
 * import { mamba2 } from 'mamba2/ai-sdk';
 *
 * const { text } = await generateText({ model: mamba2(llm), prompt: 'What is a state-space model?' });
 * console.log(text);
 * ```
 */
export function mamba2(llm: LLM, settings: Mamba2ModelSettings = {}): LanguageModelV4 {
  return new Mamba2LanguageModel(llm, settings);
}

class Mamba2LanguageModel implements LanguageModelV4 {
  readonly specificationVersion = 'v4';
  readonly provider = 'mamba2';
  readonly modelId: string;
  readonly supportedUrls = {};
  readonly #llm: LLM;

  constructor(llm: LLM, { modelId }: Mamba2ModelSettings) {
    this.#llm = llm;
    this.modelId = modelId ?? modelName(llm);
  }

  async doGenerate(call: LanguageModelV4CallOptions): Promise<LanguageModelV4GenerateResult> {
    const { options, warnings } = callPlan(call, mostTokens(this.#llm));
    const answer = await this.#llm.completeChat(chatMessages(call.prompt), options);
    return {
      content: content(answer),
      finishReason: finishReason(answer.finishReason),
      usage: usage(answer.usage),
      warnings,
      response: { modelId: this.modelId, timestamp: new Date() },
    };
  }

  async doStream(call: LanguageModelV4CallOptions): Promise<LanguageModelV4StreamResult> {
    const { options, warnings } = callPlan(call, mostTokens(this.#llm));
    const parts = this.#parts(chatMessages(call.prompt), options, warnings);
    // What is refused should reject here, not in the stream.
    const first = [(await parts.next()).value, (await parts.next()).value];
    const stream = new ReadableStream<LanguageModelV4StreamPart>({
      start(controller) {
        for (const part of first) if (part) controller.enqueue(part);
      },
      async pull(controller) {
        try {
          const { done, value } = await parts.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          controller.enqueue({ type: 'error', error });
          controller.close();
        }
      },
      async cancel() {
        await parts.return();
      },
    });
    return { stream };
  }

  async *#parts(
    messages: ReturnType<typeof chatMessages>,
    options: ReturnType<typeof callPlan>['options'],
    warnings: ReturnType<typeof callPlan>['warnings'],
  ): AsyncGenerator<LanguageModelV4StreamPart, void> {
    const parts = new StreamParts();
    yield { type: 'stream-start', warnings };
    let hasBegun = false;
    for await (const chunk of this.#llm.chat(messages, options)) {
      if (!hasBegun) yield { type: 'response-metadata', modelId: this.modelId, timestamp: new Date() };
      hasBegun = true;
      yield* parts.of(chunk);
    }
  }
}
