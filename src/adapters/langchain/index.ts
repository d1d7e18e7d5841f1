/// <reference path="../../../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A model in the process as a chat model of LangChain.
 *
 * @module mamba2/langchain
 */
import type { CallbackManagerForLLMRun } from '@langchain/core/callbacks/manager';
import type { BaseLanguageModelInput, StructuredOutputMethodOptions } from '@langchain/core/language_models/base';
import {
  BaseChatModel,
  type BaseChatModelParams,
  type BindToolsInput,
  type LangSmithParams,
} from '@langchain/core/language_models/chat_models';
import type { ChatModelStreamEvent } from '@langchain/core/language_models/event';
import type { ModelProfile } from '@langchain/core/language_models/profile';
import {
  assembleStructuredOutputPipeline,
  createFunctionCallingParser,
} from '@langchain/core/language_models/structured_output';
import type { AIMessageChunk, BaseMessage, MessageContent } from '@langchain/core/messages';
import type { ChatGenerationChunk, ChatResult } from '@langchain/core/outputs';
import type { Runnable } from '@langchain/core/runnables';
import type { InteropZodType } from '@langchain/core/utils/types';
import { ChatFormat } from '../../engine/chat/chat-format.ts';
import type { ChatOptions } from '../../engine/chat/chat-options.ts';
import type { LLM } from '../../engine/llm.ts';
import { ArgumentError } from '../../errors.ts';
import { modelName, mostTokens } from '../model-facts.ts';
import {
  type ChatMamba2CallOptions,
  type ChatMamba2Options,
  chatOptions,
  jsonSchemaOf,
  ownOptions,
} from './call-options.ts';
import { chatMessages } from './messages.ts';
import { generation, generationChunk } from './results.ts';
import { StreamEvents } from './stream-events.ts';
import { answerParser } from './structured-output.ts';

export type { ChatMamba2CallOptions, ChatMamba2Options, ResponseFormat } from './call-options.ts';

/** Settings of a model for LangChain: options hold for all calls that give none of their own. */
export interface ChatMamba2Fields extends BaseChatModelParams, ChatMamba2Options {
  readonly llm: LLM;
  /** Name of the model in results. Default: the last part of its folder. */
  readonly model?: string | undefined;
}

/**
 * A loaded model for LangChain's chains and agents, without a server: in Node and in browsers. Tools, structured output
 * (exact, by a grammar), reasoning, streaming and abort signals work.
 *
 * @example
 * ```ts
 * import { ChatMamba2 } from 'mamba2/langchain';
 *
 * const model = new ChatMamba2({ llm, temperature: 0 });
 * const { text } = await model.invoke('What is a state-space model?');
 * console.log(text);
 * ```
 */
export class ChatMamba2 extends BaseChatModel<ChatMamba2CallOptions> {
  readonly llm: LLM;
  readonly model: string;
  readonly #options: ChatMamba2Options;

  static override lc_name(): string {
    return 'ChatMamba2';
  }

  constructor(fields: ChatMamba2Fields) {
    super(fields);
    const { llm, model = modelName(llm), ...options } = fields;
    this.llm = llm;
    this.model = model;
    this.#options = ownOptions(options);
  }

  override _llmType(): string {
    return 'mamba2';
  }

  /** Everything that answers depend on, as LangChain's caches need it. */
  override _identifyingParams(): Record<string, unknown> {
    return { model: this.model, folder: this.llm.folder, ...this.#options };
  }

  override invocationParams(options: this['ParsedCallOptions']): Record<string, unknown> {
    const { signal: _, ...params } = this.#chatOptions(options);
    return { model: this.model, ...params };
  }

  override getLsParams(options: this['ParsedCallOptions']): LangSmithParams {
    const { temperature, maxTokens, stop } = this.#chatOptions(options);
    return {
      ls_provider: 'mamba2',
      ls_model_name: this.model,
      ls_model_type: 'chat',
      ...(temperature !== undefined && { ls_temperature: temperature }),
      ...(maxTokens !== undefined && { ls_max_tokens: maxTokens }),
      ...(stop !== undefined && { ls_stop: [stop].flat() }),
    };
  }

  /** What the model can do, by its chat template, and the tokens that it can take. */
  override get profile(): ModelProfile {
    const { chatTemplate, tokenizer, engine } = this.llm;
    const format = new ChatFormat(chatTemplate, tokenizer, this.#options);
    return {
      ...(Number.isFinite(engine.maxModelLen) && { maxInputTokens: engine.maxModelLen }),
      maxOutputTokens: mostTokens(this.llm),
      toolCalling: format.toolDialect !== undefined,
      toolChoice: format.toolDialect !== undefined,
      reasoningOutput: format.reasoningDialect !== undefined,
      structuredOutput: true,
    };
  }

  /** Number of the text's tokens, by the model's own tokenizer. */
  override async getNumTokens(content: MessageContent): Promise<number> {
    const blocks = typeof content === 'string' ? [{ type: 'text', text: content }] : content;
    const text = blocks.map((block) => (block.type === 'text' ? String(block.text) : '')).join('');
    return this.llm.tokenizer?.encode(text, { addSpecialTokens: false }).length ?? super.getNumTokens(content);
  }

  override bindTools(
    tools: BindToolsInput[],
    kwargs: Partial<ChatMamba2CallOptions> = {},
  ): Runnable<BaseLanguageModelInput, AIMessageChunk, ChatMamba2CallOptions> {
    return this.withConfig({ ...kwargs, tools });
  }

  override async _generate(messages: BaseMessage[], options: this['ParsedCallOptions']): Promise<ChatResult> {
    const answer = await this.llm.completeChat(chatMessages(messages), this.#chatOptions(options));
    const { promptTokens, completionTokens } = answer.usage;
    const tokenUsage = { promptTokens, completionTokens, totalTokens: promptTokens + completionTokens };
    return { generations: [generation(answer, this.model)], llmOutput: { tokenUsage } };
  }

  override async *_streamResponseChunks(
    messages: BaseMessage[],
    options: this['ParsedCallOptions'],
    runManager?: CallbackManagerForLLMRun,
  ): AsyncGenerator<ChatGenerationChunk> {
    for await (const chunk of this.llm.chat(chatMessages(messages), this.#chatOptions(options))) {
      const part = generationChunk(chunk, this.model);
      if (!part) continue;
      yield part;
      await runManager?.handleLLMNewToken(part.text, { prompt: 0, completion: 0 }, undefined, undefined, undefined, {
        chunk: part,
      });
    }
  }

  override async *_streamChatModelEvents(
    messages: BaseMessage[],
    options: this['ParsedCallOptions'],
  ): AsyncGenerator<ChatModelStreamEvent> {
    const events = new StreamEvents();
    yield { event: 'message-start' };
    for await (const chunk of this.llm.chat(chatMessages(messages), this.#chatOptions(options))) {
      yield* events.of(chunk);
    }
  }

  /**
   * The model with answers in the form of a schema: Zod's, another standard schema, or a JSON Schema. The `method`
   * `jsonSchema` (the default) holds the answer to the schema while it is written, so that it fits unless `maxTokens` cuts
   * it off; `functionCalling` does so with the arguments of a call; `jsonMode` asks for any JSON object. What a schema
   * checks beyond JSON Schema can still fail: with OutputParserException, or `parsed: null` with `includeRaw`.
   */
  override withStructuredOutput<T extends object = Record<string, unknown>>(
    schema: InteropZodType<T> | object,
    config?: StructuredOutputMethodOptions<false>,
  ): Runnable<BaseLanguageModelInput, T>;
  override withStructuredOutput<T extends object = Record<string, unknown>>(
    schema: InteropZodType<T> | object,
    config?: StructuredOutputMethodOptions<true>,
  ): Runnable<BaseLanguageModelInput, { raw: BaseMessage; parsed: T }>;
  override withStructuredOutput<T extends object>(
    schema: InteropZodType<T> | object,
    { method = 'jsonSchema', includeRaw = false, name = 'extract' }: StructuredOutputMethodOptions<boolean> = {},
  ): Runnable<BaseLanguageModelInput, T> | Runnable<BaseLanguageModelInput, { raw: BaseMessage; parsed: T }> {
    const json = jsonSchemaOf(schema);
    const traced = { ls_structured_output_format: { kwargs: { method }, schema: json }, outputVersion: 'v0' } as const;
    const runName = 'StructuredOutput';
    if (method === 'functionCalling') {
      const description = typeof json.description === 'string' ? json.description : 'Gives the answer.';
      const called = { name, description, parameters: json, strict: true };
      const llm = this.bindTools([{ type: 'function', function: called }], {
        ...traced,
        tool_choice: name,
      });
      return assembleStructuredOutputPipeline<T>(
        llm,
        createFunctionCallingParser<T>(schema, name),
        includeRaw,
        runName,
      );
    }
    if (method !== 'jsonSchema' && method !== 'jsonMode') {
      throw new ArgumentError(
        `There is no method '${method}' of structured output.`,
        'Use jsonSchema, functionCalling or jsonMode.',
      );
    }
    const structuredOutputs = method === 'jsonMode' ? ({ jsonObject: true } as const) : { json };
    const llm = this.withConfig({ ...traced, structuredOutputs });
    return assembleStructuredOutputPipeline<T>(llm, answerParser<T>(schema), includeRaw, runName);
  }

  #chatOptions(call: this['ParsedCallOptions']): ChatOptions {
    return chatOptions({ maxTokens: mostTokens(this.llm), ...this.#options, ...ownOptions(call) }, call);
  }
}
