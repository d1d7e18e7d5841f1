import { unlessAborted } from '../../distributed/abortable.ts';
import type { LLM } from '../../engine/llm.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import { withResolvers } from '../../util/with-resolvers.ts';
import { mostTokens } from '../model-facts.ts';
import type { Conversation } from './conversation.ts';
import { QuotaExceededError } from './events.ts';
import { checkedPrompt, type LanguageModelPrompt, type LanguageModelPromptOptions } from './prompts.ts';
import { formOf, withForm } from './response-constraint.ts';
import type { LanguageModelSamplingMode, SessionSampling } from './sampling.ts';

/** A function that the model may call. */
export interface LanguageModelTool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the arguments. */
  readonly inputSchema: object;
  /** Makes the call. The model reads the text that the promise resolves to. */
  execute(args: Record<string, unknown>): Promise<string> | string;
}

/** Pieces of an answer. */
export type LanguageModelStream = ReadableStream<string> & AsyncIterable<string>;

/** Handler of an event. */
export type LanguageModelEventHandler = ((event: Event) => void) | null;

/** Parts that sessions share with their clones. */
export interface LanguageModelContext {
  readonly llm: LLM;
  readonly tools: readonly LanguageModelTool[];
  readonly sampling: SessionSampling;
  /** Number of messages that an overflow keeps. */
  readonly numInitial: number;
}

/** Rounds of calls of one prompt, after which the model does not come to an end. */
const MAX_ROUNDS = 64;

/**
 * A session of Chrome's Prompt API over a model in the process: a conversation that the model keeps its state of, so that
 * each prompt costs its own tokens only, and `clone` costs nothing.
 *
 * Prompts wait for those before them. One that fails or is aborted leaves the session as it was.
 *
 * @example
 * ```ts
 * import { promptApi } from 'mamba2/prompt-api';
 *
 * const LanguageModel = promptApi(llm);
 * const session = await LanguageModel.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
 * console.log(await session.prompt('What is a state-space model?'));
 * const other = await session.clone();
 * for await (const piece of other.promptStreaming('And what is attention?')) console.log(piece);
 * session.destroy();
 * other.destroy();
 * ```
 */
export class LanguageModel extends EventTarget {
  readonly #context: LanguageModelContext;
  readonly #conversation: Conversation;
  readonly #destruction = new AbortController();
  /** The end of the last call. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Called for the event `contextoverflow`: the oldest messages were dropped for want of room. */
  oncontextoverflow: LanguageModelEventHandler = null;
  /** Handler of `quotaoverflow`, the former name of that event. */
  onquotaoverflow: LanguageModelEventHandler = null;

  /** @param conversation that the session owns from now on. */
  constructor(context: LanguageModelContext, conversation: Conversation) {
    super();
    this.#context = context;
    this.#conversation = conversation;
    this.addEventListener('contextoverflow', (event) => this.oncontextoverflow?.(event));
    this.addEventListener('quotaoverflow', (event) => this.onquotaoverflow?.(event));
  }

  get temperature(): number {
    return this.#context.sampling.temperature;
  }

  get topK(): number {
    return this.#context.sampling.topK;
  }

  get samplingMode(): LanguageModelSamplingMode {
    return this.#context.sampling.samplingMode;
  }

  /** Tokens of the conversation. */
  get contextUsage(): number {
    return this.#conversation.length;
  }

  /** Tokens that the conversation may have: Infinity for models without attention. */
  get contextWindow(): number {
    return this.#context.llm.engine.maxModelLen;
  }

  /** `contextUsage` under its former name. */
  get inputUsage(): number {
    return this.contextUsage;
  }

  /** `contextWindow` under its former name. */
  get inputQuota(): number {
    return this.contextWindow;
  }

  /** The answer to a prompt. Rejects with the signal's reason, TypeError, QuotaExceededError, or DOMException. */
  async prompt(input: LanguageModelPrompt, options: LanguageModelPromptOptions = {}): Promise<string> {
    const pieces: string[] = [];
    await this.#prompt(input, options, (piece) => pieces.push(piece));
    return pieces.join('');
  }

  /** The answer to a prompt, in pieces. Cancelling the stream undoes the prompt, as aborting it does. */
  promptStreaming(input: LanguageModelPrompt, options: LanguageModelPromptOptions = {}): LanguageModelStream {
    const cancellation = new AbortController();
    const signal = AbortSignal.any([cancellation.signal, ...(options.signal ? [options.signal] : [])]);
    const stream = new ReadableStream<string>({
      start: (controller) => {
        // Not awaited, nor slowed down by a slow reader: prompts after this one do not wait for it.
        this.#prompt(input, { ...options, signal }, (piece) => controller.enqueue(piece)).then(
          () => controller.close(),
          (error) => controller.error(error),
        );
      },
      cancel: (reason) => cancellation.abort(reason),
    });
    return iterable(stream);
  }

  /** Adds messages that are not answered yet. */
  async append(input: LanguageModelPrompt, options: Pick<LanguageModelPromptOptions, 'signal'> = {}): Promise<void> {
    const signal = this.#signal(options.signal);
    await this.#inTurn(signal, async (fork) => {
      const { messages } = checkedPrompt(input, this.#hasContext);
      await this.#makeRoom(fork, messages, { addGenerationPrompt: false }, signal);
      await fork.append(messages, signal);
    });
  }

  /** Tokens that a prompt would add. */
  async measureContextUsage(input: LanguageModelPrompt, options: LanguageModelPromptOptions = {}): Promise<number> {
    const signal = this.#signal(options.signal);
    signal.throwIfAborted();
    const { messages, isPrefix } = checkedPrompt(input, false);
    const form = formOf(options);
    const length = await this.#conversation.measure(
      withForm(messages, form, options),
      { continueFinalMessage: isPrefix },
      signal,
    );
    return Math.max(0, length - this.#conversation.length);
  }

  /** `measureContextUsage` under its former name. */
  async measureInputUsage(input: LanguageModelPrompt, options: LanguageModelPromptOptions = {}): Promise<number> {
    return this.measureContextUsage(input, options);
  }

  /** A session that continues on its own from what this one has read and answered so far. It costs nothing until it does. */
  async clone(options: Pick<LanguageModelPromptOptions, 'signal'> = {}): Promise<LanguageModel> {
    this.#signal(options.signal).throwIfAborted();
    return new LanguageModel(this.#context, this.#conversation.fork());
  }

  /** Ends running prompts, with an AbortError, and lets go of the model's state. */
  destroy(reason: unknown = new DOMException('The session was destroyed.', 'AbortError')): void {
    if (this.#destruction.signal.aborted) return;
    this.#destruction.abort(reason);
    this.#conversation.dispose();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  get #hasContext(): boolean {
    return this.#conversation.messages.length > 0;
  }

  #signal(signal: AbortSignal | undefined): AbortSignal {
    const { signal: destroyed } = this.#destruction;
    return signal ? AbortSignal.any([destroyed, signal]) : destroyed;
  }

  /** Changes a fork when the calls before it have ended. It takes the conversation's place unless something fails. */
  async #inTurn(signal: AbortSignal, change: (fork: Conversation) => Promise<void>): Promise<void> {
    const before = this.#turn;
    const { promise, resolve: end } = withResolvers();
    this.#turn = Promise.all([before, promise]);
    let fork: Conversation | undefined;
    try {
      await unlessAborted(before, signal);
      signal.throwIfAborted();
      fork = this.#conversation.fork();
      await change(fork);
      signal.throwIfAborted();
      this.#conversation.keep(fork);
      fork = undefined;
    } finally {
      fork?.dispose();
      end();
    }
  }

  #prompt(
    input: LanguageModelPrompt,
    options: LanguageModelPromptOptions,
    receive: (piece: string) => void,
  ): Promise<void> {
    const signal = this.#signal(options.signal);
    return this.#inTurn(signal, (fork) => this.#answer(fork, input, { ...options, signal }, receive));
  }

  async #answer(
    fork: Conversation,
    input: LanguageModelPrompt,
    options: LanguageModelPromptOptions & { readonly signal: AbortSignal },
    receive: (piece: string) => void,
  ): Promise<void> {
    const { signal } = options;
    const { llm, sampling } = this.#context;
    const { messages: given, isPrefix } = checkedPrompt(input, this.#hasContext);
    const structuredOutputs = formOf(options);
    const { temperature } = sampling;
    // 0 is all, which costs no sorting.
    const topK = sampling.topK < llm.config.vocabSize ? sampling.topK : 0;
    const generation = { maxTokens: mostTokens(llm), temperature, topK, signal, structuredOutputs };
    let messages = withForm(given, structuredOutputs, options);
    let continueFinalMessage = isPrefix;
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await this.#makeRoom(fork, messages, { continueFinalMessage }, signal);
      const calls = await fork.answer(messages, generation, { continueFinalMessage }, receive);
      if (calls.length === 0) return;
      messages = await unlessAborted(Promise.all(calls.map((call) => this.#execute(call))), signal);
      continueFinalMessage = false;
    }
    throw new DOMException(`The model did not stop calling tools in ${MAX_ROUNDS} rounds.`, 'OperationError');
  }

  async #execute({ id, function: { name, arguments: json } }: ToolCall): Promise<ChatMessage> {
    const tool = this.#context.tools.find((each) => each.name === name);
    const content = tool ? await tool.execute(JSON.parse(json)) : `There is no function '${name}'.`;
    return { role: 'tool', name, tool_call_id: id, content: String(content) };
  }

  /** Drops the oldest messages but the initial ones while the conversation has no room for further ones and an answer. */
  async #makeRoom(
    fork: Conversation,
    messages: readonly ChatMessage[],
    options: { readonly addGenerationPrompt?: boolean; readonly continueFinalMessage?: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { contextWindow } = this;
    if (contextWindow === Number.POSITIVE_INFINITY) return;
    const { numInitial } = this.#context;
    let hasOverflown = false;
    for (;;) {
      const requested = await fork.measure(messages, options, signal);
      if (requested < contextWindow) break;
      const turns = fork.messages.slice(numInitial);
      if (turns.length === 0) throw new QuotaExceededError(requested, contextWindow);
      // A prompt goes with its answers.
      const next = turns.findIndex(({ role }, i) => i > 0 && role === 'user');
      fork.forget(numInitial, next < 0 ? turns.length : next);
      hasOverflown = true;
    }
    if (!hasOverflown) return;
    this.dispatchEvent(new Event('contextoverflow'));
    this.dispatchEvent(new Event('quotaoverflow'));
  }
}

/** A stream for `for await`, which not every browser's streams are. */
function iterable(stream: ReadableStream<string>): LanguageModelStream {
  const own: object = stream;
  if (!(Symbol.asyncIterator in own)) Object.assign(own, { [Symbol.asyncIterator]: () => piecesOf(stream) });
  return stream as LanguageModelStream;
}

async function* piecesOf(stream: ReadableStream<string>): AsyncGenerator<string, void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // A loop that is left cancels the stream; one that has ended is not harmed.
    await reader.cancel().catch(() => {});
    reader.releaseLock();
  }
}
