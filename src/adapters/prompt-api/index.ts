/// <reference path="../../../types/globals.d.ts" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Chrome's Prompt API over a model in the process.
 *
 * @module mamba2/prompt-api
 */

import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import { unlessAborted } from '../../distributed/abortable.ts';
import { ChatFormat } from '../../engine/chat/chat-format.ts';
import { LLM } from '../../engine/llm.ts';
import type { LoadOptions } from '../../engine/load/load-options.ts';
import type { Tool } from '../../text/parsers/tool-definition.ts';
import { Conversation } from './conversation.ts';
import { CreateMonitor, QuotaExceededError } from './events.ts';
import { LanguageModel, type LanguageModelTool } from './language-model.ts';
import { checkedPrompt, type LanguageModelMessage, type LanguageModelMessageContent } from './prompts.ts';
import { type LanguageModelParams, type LanguageModelSamplingMode, params, sessionSampling } from './sampling.ts';

export { type CreateMonitor, type DownloadProgressEvent, QuotaExceededError } from './events.ts';
export type {
  LanguageModel,
  LanguageModelEventHandler,
  LanguageModelStream,
  LanguageModelTool,
} from './language-model.ts';
export type {
  LanguageModelMessage,
  LanguageModelMessageContent,
  LanguageModelPrompt,
  LanguageModelPromptOptions,
  LanguageModelRole,
} from './prompts.ts';
export type { LanguageModelParams, LanguageModelSamplingMode } from './sampling.ts';

/** Whether a session can be created, and whether the model is loaded first. */
export type Availability = 'unavailable' | 'downloadable' | 'downloading' | 'available';

/** What a session will read or write. */
export interface LanguageModelExpected {
  readonly type: LanguageModelMessageContent['type'];
  /** Languages as BCP 47 has them. Models here know of none, so all are taken. */
  readonly languages?: readonly string[] | undefined;
}

/** Options that decide whether a session can be created. */
export interface LanguageModelCreateCoreOptions {
  readonly samplingMode?: LanguageModelSamplingMode | undefined;
  readonly temperature?: number | undefined;
  readonly topK?: number | undefined;
  readonly expectedInputs?: readonly LanguageModelExpected[] | undefined;
  readonly expectedOutputs?: readonly LanguageModelExpected[] | undefined;
  /** Functions that the model may call; the session makes the calls. */
  readonly tools?: readonly LanguageModelTool[] | undefined;
}

/** Options of a session. */
export interface LanguageModelCreateOptions extends LanguageModelCreateCoreOptions {
  /** Ends the creation, and afterwards the session. */
  readonly signal?: AbortSignal | undefined;
  /** Receives what fires `downloadprogress` while the model is loaded. */
  readonly monitor?: ((monitor: CreateMonitor) => void) | undefined;
  /** The conversation's beginning, which no overflow drops. */
  readonly initialPrompts?: readonly LanguageModelMessage[] | undefined;
}

/** What Chrome's `LanguageModel` has as static members. */
export interface LanguageModelFactory {
  /** Whether sessions with these options can be created. */
  availability(options?: LanguageModelCreateCoreOptions): Promise<Availability>;
  /**
   * A session. The first loads the model, if it was given by its name. Rejects with the signal's reason, TypeError,
   * RangeError, QuotaExceededError, DOMException with the name NotSupportedError, or an error of `LLM.load`.
   */
  create(options?: LanguageModelCreateOptions): Promise<LanguageModel>;
  /** Default and largest sampling parameters. Loads the model, as `create` does. */
  params(): Promise<LanguageModelParams>;
  /** Frees the model if it was given by its name. */
  dispose(): Promise<void>;
}

/**
 * An object of the shape of Chrome's `LanguageModel`, over a loaded model or one that is loaded on need. Programs for the
 * Prompt API run with it in Node and in any browser.
 *
 * @example
 * ```ts
 * import { promptApi } from 'mamba2/prompt-api';
 *
 * const LanguageModel = promptApi('ibm-granite/granite-4.0-h-350m', { dtype: 'int8' });
 * const session = await LanguageModel.create({
 *   monitor: (monitor) => monitor.addEventListener('downloadprogress', (event) => console.log(event)),
 * });
 * console.log(await session.prompt('Write me a poem.'));
 * ```
 */
export function promptApi(model: LLM | string, options: LoadOptions = {}): LanguageModelFactory {
  return new PromptApi(model, options);
}

class PromptApi implements LanguageModelFactory {
  readonly #model: LLM | string;
  readonly #options: LoadOptions;
  #loading: Promise<LLM> | undefined;
  #loaded: LLM | undefined;
  /** Monitors of the sessions that wait for the model. */
  readonly #monitors = new Set<CreateMonitor>();

  constructor(model: LLM | string, options: LoadOptions) {
    this.#model = model;
    this.#options = options;
    if (typeof model !== 'string') this.#loaded = model;
  }

  async availability(options: LanguageModelCreateCoreOptions = {}): Promise<Availability> {
    if (this.#problem(options) !== undefined) return 'unavailable';
    if (this.#loaded) return 'available';
    return this.#loading ? 'downloading' : 'downloadable';
  }

  async create(options: LanguageModelCreateOptions = {}): Promise<LanguageModel> {
    const { signal, monitor, initialPrompts = [], tools = [] } = options;
    signal?.throwIfAborted();
    const { messages } = initialPrompts.length === 0 ? { messages: [] } : checkedPrompt(initialPrompts, false);
    const llm = await this.#monitored(monitor, signal);
    const problem = this.#problem(options);
    if (problem !== undefined) throw new DOMException(problem, 'NotSupportedError');
    const context = { llm, tools, sampling: sessionSampling(llm, options), numInitial: messages.length };
    const conversation = new Conversation(llm, tools.map(toolOf));
    try {
      if (messages.length > 0) {
        const requested = await conversation.measure(messages, { addGenerationPrompt: false }, signal).catch(() => 0);
        if (requested >= llm.engine.maxModelLen) throw new QuotaExceededError(requested, llm.engine.maxModelLen);
        await conversation.append(messages, signal);
      }
      signal?.throwIfAborted();
    } catch (error) {
      conversation.dispose();
      throw error;
    }
    const session = new LanguageModel(context, conversation);
    signal?.addEventListener('abort', () => session.destroy(signal.reason), { once: true });
    return session;
  }

  async params(): Promise<LanguageModelParams> {
    return params(await this.#llm());
  }

  async dispose(): Promise<void> {
    const loading = this.#loading;
    this.#loading = undefined;
    if (typeof this.#model === 'string') this.#loaded = undefined;
    await (await loading?.catch(() => undefined))?.dispose();
  }

  /** The model, with at least the first and the last event of its progress. */
  async #monitored(monitor: LanguageModelCreateOptions['monitor'], signal: AbortSignal | undefined): Promise<LLM> {
    const own = new CreateMonitor();
    monitor?.(own);
    own.report(0);
    this.#monitors.add(own);
    try {
      const llm = await unlessAborted(this.#llm(), signal);
      own.report(1);
      return llm;
    } finally {
      this.#monitors.delete(own);
    }
  }

  async #llm(): Promise<LLM> {
    if (typeof this.#model !== 'string') return this.#model;
    this.#loading ??= this.#load(this.#model);
    return this.#loading;
  }

  async #load(name: string): Promise<LLM> {
    try {
      const { onProgress } = this.#options;
      this.#loaded = await LLM.load(name, {
        ...this.#options,
        onProgress: (event) => {
          onProgress?.(event);
          if (event.status !== 'load') return;
          // The last event comes with the model.
          for (const monitor of this.#monitors) monitor.report(Math.min((event.progress ?? 0) / 100, 0.999));
        },
      });
      return this.#loaded;
    } catch (error) {
      // The next call may fare better.
      this.#loading = undefined;
      throw error;
    }
  }

  /** Why a session can't be as these options ask; undefined: it can, as far as that is known before the model is loaded. */
  #problem({
    expectedInputs = [],
    expectedOutputs = [],
    tools = [],
  }: LanguageModelCreateCoreOptions): string | undefined {
    for (const { languages = [] } of [...expectedInputs, ...expectedOutputs]) Intl.getCanonicalLocales([...languages]);
    const input = expectedInputs.find(({ type }) => type !== 'text' && type !== 'tool-response');
    if (input) return `The model reads no content of the type '${input.type}'.`;
    const output = expectedOutputs.find(({ type }) => type !== 'text' && type !== 'tool-call');
    if (output) return `The model writes no content of the type '${output.type}'.`;
    const llm = this.#loaded;
    if (!llm) return undefined;
    if (!llm.hasChatTemplate) return 'The model has no chat template.';
    const calls = [...expectedInputs, ...expectedOutputs].some(({ type }) => type !== 'text') || tools.length > 0;
    const format = new ChatFormat(llm.chatTemplate, llm.tokenizer);
    return calls && !format.toolDialect ? 'The model calls no tools.' : undefined;
  }
}

function toolOf({ name, description, inputSchema }: LanguageModelTool): Tool {
  return { type: 'function', function: { name, description, parameters: inputSchema as JsonObject } };
}
