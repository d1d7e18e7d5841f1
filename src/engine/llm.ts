import { Turns } from '../distributed/event-loop.ts';
import type { WorkerScript } from '../distributed/worker-scripts.ts';
import {
  ArgumentError,
  ChatTemplateError,
  EmptyPromptError,
  StructuredOutputsError,
  TokenizerError,
} from '../errors.ts';
import { Grammars, type TokenGrammar } from '../grammar/grammars.ts';
import type { ModelConfig } from '../models/causal-lm.ts';
import { encodeBadWords } from '../text/bad-words.ts';
import type { ChatMessage, ChatTemplate, TemplateKind } from '../text/chat/chat-template.ts';
import type { TextThreads } from '../text/text-threads.ts';
import { assertTokenId, type EncodeOptions, type TextTokenizer } from '../text/tokenizer.ts';
import { detached } from '../util/detached.ts';
import { shown } from '../util/shown.ts';
import { AsyncLLMEngine } from './async-llm-engine.ts';
import { ChatAnswer, type ChatChunk, type ChatCompletion, ChatReader, totalUsage } from './chat/chat-chunk.ts';
import { ChatFormat, templateOptions } from './chat/chat-format.ts';
import { CHAT_OPTIONS } from './chat/chat-option-names.ts';
import type { ChatOptions, ChatTemplateInputs } from './chat/chat-options.ts';
import type { DeviceChoice } from './load/choose-device.ts';
import { type LoadedDType, type LoadedModel, loadModel } from './load/load-model.ts';
import type { LoadOptions } from './load/load-options.ts';
import { assertSameModel, type ModelIdentity } from './load/model-identity.ts';
import { type GenerationChunk, generationChunks } from './request/generation-chunk.ts';
import type { PromptLogprobs } from './request/logprob-columns.ts';
import { detachedPrompt, type Prompt } from './request/prompt.ts';
import type { FinishReason, RequestOutput } from './request/request-output.ts';
import { checkOptionNames, GENERATE_OPTIONS } from './sample/option-names.ts';
import { logSumExp } from './sample/sampler.ts';
import {
  checkedSalt,
  DEFAULT_MAX_TOKENS,
  type GenerateOptions,
  resolveSamplingParams,
  type SamplingDefaults,
  type SamplingParams,
  truncatedPrompt,
} from './sample/sampling-params.ts';
import type { RankedTokenLogprob } from './sample/token-logprob.ts';
import { restoreSession, Session, type SessionHost, type SessionOptions } from './session/session.ts';
import { readSession } from './session/session-file.ts';

/** Callback and signal of an evaluation. */
export interface EvaluationOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of tokens processed so far. */
  readonly onTokens?: ((count: number) => void) | undefined;
}

/** Options of encoding a prompt. */
export interface PromptOptions extends EncodeOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A whole answer. */
export interface CompletionChoice {
  readonly tokenIds: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Where `logprobs` asks for it: one entry for each of `tokenIds`. */
  readonly logprobs?: readonly RankedTokenLogprob[];
}

/** A whole generation: the parts of the first answer, and all answers. */
export interface Completion extends CompletionChoice {
  readonly promptTokenIds: readonly number[];
  /** The `n` answers. */
  readonly choices: readonly CompletionChoice[];
  /** Where `promptLogprobs` asks for it: one entry per prompt token, null for the first. */
  readonly promptLogprobs?: PromptLogprobs;
}

/**
 * A loaded model: text or token ids in, text and tokens out. Concurrent calls are processed together. Arrays, maps and
 * options are copied when a call is made, so the caller may change them afterwards.
 *
 * @example
 * ```ts
 * const llm = await LLM.load('tiny-dts');
 * for await (const { text } of llm.generate('export interface User {', { maxTokens: 40 })) console.log(text);
 * await llm.dispose();
 * ```
 */
export class LLM {
  /** The folder, or its URL, that the model was loaded from. */
  readonly folder: string;
  readonly config: ModelConfig;
  /** Absent where the folder has no tokenizer.json; then prompts are token ids. */
  readonly tokenizer: TextTokenizer | undefined;
  /** Tokens that end a text, by config.json, generation_config.json and the tokenizer together. */
  readonly eosTokenIds: readonly number[];
  /** Runs the requests. Gives servers statistics, events and a graceful shutdown. */
  readonly engine: AsyncLLMEngine;
  /** Device that the model runs on, and why. */
  readonly device: DeviceChoice;
  /** Dtype of the weights in memory, and why. */
  readonly dtype: LoadedDType;
  /** Threads that share the model: the requested number, or the one that `auto` chose. */
  readonly tensorParallelSize: number;
  /** Encodes long texts on other threads, for servers that must not wait for one. */
  readonly texts: TextThreads;
  readonly #chatTemplate: ChatTemplate | undefined;
  readonly #identify: () => Promise<ModelIdentity>;
  #identity: Promise<ModelIdentity> | undefined;
  readonly #samplingDefaults: SamplingDefaults;
  readonly #grammarScript: WorkerScript | undefined;
  /** Compiled forms of answers, and the worker that has them: from the first on. */
  #grammars: Grammars | undefined;

  private constructor(parts: LoadedModel) {
    this.folder = parts.folder;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.eosTokenIds = parts.context.eosTokenIds;
    this.engine = new AsyncLLMEngine(parts.context);
    this.device = parts.device;
    this.dtype = parts.dtype;
    this.tensorParallelSize = parts.tensorParallelSize;
    this.texts = parts.texts;
    this.#chatTemplate = parts.chatTemplate;
    this.#identify = parts.identify;
    this.#samplingDefaults = parts.samplingDefaults;
    this.#grammarScript = parts.grammarScript;
  }

  /**
   * Loads a model from a local folder, by the name of a bundled model, from the URL of a folder, or by a hub id
   * (`org/name`, `org/name@revision`). A browser has URLs and hub ids only. Rejects with an error class of its own for
   * each kind of problem: see `errors.ts`. An aborted load rejects with the signal's reason.
   *
   * @example
   * ```ts
   * const llm = await LLM.load('ibm-granite/granite-4.0-h-350m', { dtype: 'int8', tensorParallelSize: 'auto' });
   * ```
   */
  static async load(source: string, options: LoadOptions = {}): Promise<LLM> {
    return new LLM(await loadModel(source, { ...options }));
  }

  /**
   * Generates token by token. The iterator throws EmptyPromptError, TokenIdError, TokenizerError, SamplingParamsError or
   * QueueFullError before the first token, and the signal's reason when it is aborted. Leaving the loop early frees what
   * the generation held.
   *
   * @example
   * ```ts
   * const options = { maxTokens: 100, temperature: 0.7, seed: 1, stop: ['\n\n'] };
   * for await (const { text } of llm.generate('export interface User {', options)) console.log(text);
   * ```
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerationChunk, void> {
    return this.#generate(detachedPrompt(prompt), detached(options));
  }

  async *#generate(prompt: Prompt, options: GenerateOptions): AsyncGenerator<GenerationChunk, void> {
    checkOptionNames(options, GENERATE_OPTIONS);
    for await (const output of this.#outputs(prompt, options)) yield* generationChunks(output);
  }

  async *#outputs(prompt: Prompt, options: GenerateOptions): AsyncGenerator<RequestOutput, void> {
    this.#assertUsable();
    const params = this.resolveSamplingParams(options);
    const { priority, cacheSalt, signal } = options;
    const promptTokenIds = this.#truncated(await this.encode(prompt, { signal }), options);
    const badWordsTokenIds = await this.#encodeBadWords(params, signal);
    const grammar = await this.compileGrammar(params, signal);
    const request = { promptTokenIds, params, badWordsTokenIds, grammar, priority, cacheSalt };
    yield* this.engine.addRequest(request, signal);
  }

  /**
   * Generates an answer to a conversation, through the model's chat template. Chunks are those of `generate`, without
   * thoughts and calls in the `text`: those are `reasoning` and `toolCalls`.
   *
   * @example
   * ```ts
   * const question = [{ role: 'user', content: 'What is a state-space model?' }];
   * for await (const { text } of llm.chat(question, { maxTokens: 200 })) console.log(text);
   * ```
   */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): AsyncGenerator<ChatChunk, void> {
    return this.#chat(detached(messages), detached(options));
  }

  async *#chat(messages: readonly ChatMessage[], options: ChatOptions): AsyncGenerator<ChatChunk, void> {
    checkOptionNames(options, CHAT_OPTIONS);
    checkMessages(messages);
    const tokenizer = this.#requireTokenizer('A conversation');
    const plan = new ChatFormat(this.#requireChatTemplate(), tokenizer, options).plan(options);
    const input = { messages, options: plan.template };
    const job = { type: 'encode', input, maxCharacters: Number.POSITIVE_INFINITY } as const;
    const whole = [...(await this.texts.runUnlessShort(job, { signal: options.signal }))];
    const prompt = this.#truncated(whole, options);
    const reader = new ChatReader(plan.form(prompt), prompt.length);
    for await (const output of this.#outputs(prompt, plan.generate(options, prompt))) yield* reader.read(output);
  }

  /**
   * Generates an answer to a conversation to the end. Its `message` continues the conversation.
   *
   * @example
   * ```ts
   * const parameters = { type: 'object', properties: { city: { type: 'string' } } };
   * const tools = [{ type: 'function' as const, function: { name: 'weather', parameters } }];
   * const { toolCalls, text } = await llm.completeChat([{ role: 'user', content: 'Rain in Lyon?' }], { tools });
   * for (const { function: called } of toolCalls) console.log(called.name, JSON.parse(called.arguments));
   * ```
   */
  async completeChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<ChatCompletion> {
    const answers: ChatAnswer[] = [];
    let promptLogprobs: PromptLogprobs | undefined;
    for await (const chunk of this.chat(messages, options)) {
      promptLogprobs ??= chunk.promptLogprobs;
      answers[chunk.index] ??= new ChatAnswer();
      answers[chunk.index].add(chunk);
    }
    const choices = answers.map((answer) => answer.choice());
    const usage = totalUsage(answers.map(({ usage }) => usage));
    return { ...choices[0], choices, usage, ...(promptLogprobs && { promptLogprobs }) };
  }

  /**
   * Generates to the end and returns everything at once.
   *
   * @example
   * ```ts
   * const { text, finishReason, choices } = await llm.complete('export declare class ', { n: 2, maxTokens: 40 });
   * ```
   */
  async complete(prompt: Prompt, options: GenerateOptions = {}): Promise<Completion> {
    const promptTokenIds = this.#truncated(await this.encode(prompt, options), options);
    const answers: Answer[] = [];
    let promptLogprobs: PromptLogprobs | undefined;
    for await (const chunk of this.generate(promptTokenIds, options)) {
      promptLogprobs ??= chunk.promptLogprobs;
      answers[chunk.index] ??= new Answer();
      answers[chunk.index].add(chunk);
    }
    const choices = answers.map((answer) => answer.choice());
    return { promptTokenIds, ...choices[0], choices, ...(promptLogprobs && { promptLogprobs }) };
  }

  /** Logits at every position: (T, vocabSize), row-major. */
  async logits(prompt: Prompt, options: EvaluationOptions = {}): Promise<Float32Array> {
    const tokenIds = await this.encode(prompt, options);
    const { vocabSize } = this.config;
    const all = new Float32Array(tokenIds.length * vocabSize);
    await this.#forEachStep(tokenIds, options, (logits, begin) => all.set(logits, begin * vocabSize));
    return all;
  }

  /** Natural log of each token's probability given those before it: (T - 1), for tokens 1 to T - 1. */
  async logprobs(prompt: Prompt, options: EvaluationOptions = {}): Promise<Float64Array> {
    const tokenIds = await this.encode(prompt, options);
    const { vocabSize } = this.config;
    const logprobs = new Float64Array(tokenIds.length - 1);
    await this.#forEachStep(tokenIds, options, (logits, begin) => {
      for (let t = begin; t < Math.min(begin + logits.length / vocabSize, logprobs.length); t++) {
        const row = logits.subarray((t - begin) * vocabSize, (t - begin + 1) * vocabSize);
        logprobs[t] = row[tokenIds[t + 1]] - logSumExp(row);
      }
    });
    return logprobs;
  }

  /** A conversation or text that grows, whose state the model keeps. @throws SamplingParamsError when the salt is empty. */
  createSession({ cacheSalt }: SessionOptions = {}): Session {
    this.#assertUsable();
    return new Session(this.#sessionHost(), checkedSalt(cacheSalt));
  }

  /**
   * A session from what `session.save()` returned, in this or another process, with as many ranks as you like. Its states
   * come from outside, so no other request continues from them, nor from states that follow from them.
   * @throws SessionFileError when the bytes are no whole session, or were changed; ModelMismatchError when it is another
   * model's.
   */
  async loadSession(file: Uint8Array): Promise<Session> {
    this.#assertUsable();
    const contents = await readSession(new Uint8Array(file), this.config.vocabSize);
    assertSameModel(contents.model, await this.#getIdentity());
    return restoreSession(this.#sessionHost(), contents);
  }

  /** Options as the engine takes them, with this model's defaults. @throws SamplingParamsError, TokenizerError */
  resolveSamplingParams(options: GenerateOptions): SamplingParams {
    const params = resolveSamplingParams(options, this.#samplingDefaults);
    checkedSalt(options.cacheSalt);
    if (params.stop.length > 0) this.#requireTokenizer('Stop strings');
    if (params.badWords.length > 0) this.#requireTokenizer('Bad words');
    if (params.structuredOutputs) {
      this.#requireTokenizer('structuredOutputs');
      if (this.eosTokenIds.length + params.stopTokenIds.size === 0) {
        const problem = 'The model has no token that ends a text, so no answer of a form would end.';
        throw new StructuredOutputsError(problem, 'Give stopTokenIds.');
      }
    }
    for (const ids of [params.logitBias.keys(), params.allowedTokenIds ?? []]) {
      for (const id of ids) assertTokenId(id, this.config.vocabSize, this.tokenizer);
    }
    return params;
  }

  /**
   * Token ids of a prompt, checked. In Node a long text is encoded on a separate thread, so that this one is not blocked.
   * Rejects with TokenizerError, EmptyPromptError, TokenIdError, or the signal's reason.
   *
   * @example
   * ```ts
   * import { readFile } from 'node:fs/promises';
   * const tokenIds = await llm.encode(await readFile('book.txt', 'utf8'), { signal: AbortSignal.timeout(10_000) });
   * ```
   */
  async encode(prompt: Prompt, { addSpecialTokens = true, signal }: PromptOptions = {}): Promise<readonly number[]> {
    if (typeof prompt !== 'string') return this.tokenize(prompt);
    this.#requireTokenizer('A text prompt');
    const input = { text: prompt, addSpecialTokens };
    const job = { type: 'encode', input, maxCharacters: Number.POSITIVE_INFINITY } as const;
    return this.tokenize([...(await this.texts.runUnlessShort(job, { signal }))]);
  }

  /**
   * Token ids of a prompt, encoded on this thread, which a long text blocks.
   * @throws TokenizerError, EmptyPromptError, TokenIdError
   */
  tokenize(prompt: Prompt, options: EncodeOptions = {}): readonly number[] {
    const tokenIds =
      typeof prompt === 'string' ? this.#requireTokenizer('A text prompt').encode(prompt, options) : idsOf(prompt);
    if (tokenIds.length === 0) throw new EmptyPromptError('The prompt has no tokens.', 'Give at least one.');
    for (const id of tokenIds) assertTokenId(id, this.config.vocabSize, this.tokenizer);
    return tokenIds;
  }

  /** Whether the model can chat. */
  get hasChatTemplate(): boolean {
    return this.#chatTemplate !== undefined && this.#chatTemplate.problem === undefined;
  }

  /** Whether the model was trained on conversations or only continues texts; undefined if it can't chat. */
  get chatTemplateKind(): TemplateKind | undefined {
    return this.hasChatTemplate ? this.#chatTemplate?.kind : undefined;
  }

  /** The model's template, usable or not; undefined: its files have none. */
  get chatTemplate(): ChatTemplate | undefined {
    return this.#chatTemplate;
  }

  /**
   * A conversation as the text that the model was trained on, rendered as transformers does.
   *
   * Objects of JavaScript put keys such as '10' first. Where the order of such keys matters, as in arguments of earlier
   * tool calls, give a Map, or the arguments as the JSON that the model wrote: both keep their order.
   *
   * @throws ChatTemplateError in the template's own words; about a role that it does not know, or a message that it
   *   would leave out; and where the model has no template, or one that can't be used.
   */
  renderChat(messages: readonly ChatMessage[], options: ChatTemplateInputs = {}): string {
    checkMessages(messages);
    const { namedTokens } = this.tokenizer ?? {};
    return this.#requireChatTemplate().render(messages, { ...templateOptions(options), namedTokens });
  }

  /**
   * The form that params ask for, compiled, as requests to the engine need it; undefined if they ask for none. A form that was
   * compiled lately is there at once. Rejects with StructuredOutputsError, MissingPackageError, or the signal's reason.
   */
  async compileGrammar(params: SamplingParams, signal?: AbortSignal): Promise<TokenGrammar | undefined> {
    if (!params.structuredOutputs || params.maxTokens === 0) return undefined;
    const { vocabSize } = this.config;
    const { eosTokenIds: endTokenIds, tokenizer } = this;
    if (!tokenizer) return undefined;
    this.#grammars ??= new Grammars({ tokenizer, vocabSize, endTokenIds, script: this.#grammarScript });
    return this.#grammars.compile(params.structuredOutputs, signal);
  }

  /** Frees the model. Running generations end with DisposedError; so does every later call. */
  async dispose(): Promise<void> {
    this.#grammars?.dispose();
    await Promise.all([this.engine.dispose(), this.texts.dispose()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /**
   * Runs all tokens through the model and hands over the logits of each step with the first position of their tokens.
   */
  async #forEachStep(
    promptTokenIds: readonly number[],
    { signal, onTokens }: EvaluationOptions,
    receive: (logits: Float32Array, begin: number) => void,
  ): Promise<void> {
    this.#assertUsable();
    const params = { ...this.resolveSamplingParams({}), maxTokens: 0 };
    const onPromptLogits = (logits: Float32Array, begin: number) => {
      receive(logits, begin);
      onTokens?.(begin + logits.length / this.config.vocabSize);
    };
    for await (const _ of this.engine.addRequest({ promptTokenIds, params, onPromptLogits }, signal));
  }

  /** Token ids of bad words. Long texts go to the thread for texts; between short ones the event loop gets a turn. */
  async #encodeBadWords(
    { badWords }: SamplingParams,
    signal: AbortSignal | undefined,
  ): Promise<readonly (readonly number[])[]> {
    const turns = new Turns();
    return encodeBadWords(badWords, async (text) => {
      await turns.next();
      signal?.throwIfAborted();
      const input = { text, addSpecialTokens: false };
      return this.texts.runUnlessShort({ type: 'encode', input, maxCharacters: Number.POSITIVE_INFINITY }, { signal });
    });
  }

  #sessionHost(): SessionHost {
    return {
      engine: this.engine,
      identity: () => this.#getIdentity(),
      encode: (prompt, options) => this.encode(prompt, options),
      encodeBadWords: (params, signal) => this.#encodeBadWords(params, signal),
      compileGrammar: (params, signal) => this.compileGrammar(params, signal),
      resolve: (options) => this.resolveSamplingParams(options),
    };
  }

  #getIdentity(): Promise<ModelIdentity> {
    this.#identity ??= this.#identify().catch((error: unknown) => {
      // The next call may fare better.
      this.#identity = undefined;
      throw error;
    });
    return this.#identity;
  }

  /** The tokens of a prompt that are kept. @throws SamplingParamsError */
  #truncated(
    prompt: readonly number[],
    { truncatePromptTokens, maxTokens = DEFAULT_MAX_TOKENS }: GenerateOptions,
  ): readonly number[] {
    return truncatedPrompt(prompt, truncatePromptTokens, this.engine.maxModelLen - maxTokens);
  }

  #assertUsable(): void {
    if (this.engine.closed) throw this.engine.closed;
  }

  #requireChatTemplate(): ChatTemplate {
    if (this.#chatTemplate) return this.#chatTemplate;
    throw new ChatTemplateError(`'${this.folder}' has no chat template.`, 'Use generate() with a text prompt.');
  }

  #requireTokenizer(what: string): TextTokenizer {
    if (this.tokenizer) return this.tokenizer;
    throw new TokenizerError(
      `${what} needs a tokenizer, and '${this.folder}' has no tokenizer.json.`,
      'Pass token ids, or add the file.',
    );
  }
}

/** Callers without types may give anything. @throws ArgumentError */
function idsOf(prompt: readonly number[]): readonly number[] {
  if (Array.isArray(prompt) || ArrayBuffer.isView(prompt)) return [...prompt];
  throw new ArgumentError(`The prompt is ${shown(prompt)}.`, 'Give a text or token ids; messages are for chat().');
}

/** @throws ArgumentError */
function checkMessages(messages: readonly ChatMessage[]): void {
  if (Array.isArray(messages)) return;
  const hint = "Give a list such as [{ role: 'user', content: 'Hello' }].";
  throw new ArgumentError(`The messages are ${shown(messages)}.`, hint);
}

/** Gathers the chunks of one answer. */
class Answer {
  readonly #tokenIds: number[] = [];
  readonly #logprobs: RankedTokenLogprob[] = [];
  #text = '';
  #finishReason: FinishReason = 'length';

  add({ tokenId, text, logprob, topLogprobs, finishReason }: GenerationChunk): void {
    this.#tokenIds.push(tokenId);
    if (topLogprobs) this.#logprobs.push({ tokenId, logprob, topLogprobs });
    this.#text += text;
    this.#finishReason = finishReason ?? this.#finishReason;
  }

  choice(): CompletionChoice {
    const logprobs = this.#logprobs.length > 0 && { logprobs: this.#logprobs };
    return { tokenIds: this.#tokenIds, text: this.#text, finishReason: this.#finishReason, ...logprobs };
  }
}
