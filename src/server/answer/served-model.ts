import { ChatFormat, type RequestTemplateOptions } from '../../engine/chat/chat-format.ts';
import type { ChatParsers } from '../../engine/chat/chat-options.ts';
import type { LLM } from '../../engine/llm.ts';
import { type SamplingParams, truncatedPrompt } from '../../engine/sample/sampling-params.ts';
import { encodeBadWords } from '../../text/bad-words.ts';
import { type ChatMessage, ChatTemplate, type TemplateKind } from '../../text/chat/chat-template.ts';
import type { TextInput, TextJob, TextResults } from '../../text/text-job.ts';
import { sizeOf } from '../../text/text-threads.ts';
import { BodyReader } from '../request/body-reader.ts';
import type { RequestLimits, SchedulingPolicy } from '../request/limits.ts';
import { badRequest, HttpError } from '../wire/http-error.ts';
import { packedIds, type TokenIds } from '../wire/prompt-field.ts';
import { AnswerMemory } from './answer-memory.ts';
import { EventPace } from './event-pace.ts';

/** Model, its names, and the limits of requests to it. */
export interface ServedModelOptions {
  readonly llm: LLM;
  /** At least one; answers carry the first. */
  readonly names: readonly [string, ...string[]];
  /** Jinja source in place of the model's own template. */
  readonly chatTemplate?: string | undefined;
  /** Whether a request may bring a template of its own. Default: false. */
  readonly trustRequestChatTemplate?: boolean | undefined;
  readonly parsers?: ChatParsers | undefined;
  /** Default: fcfs. */
  readonly schedulingPolicy?: SchedulingPolicy | undefined;
  readonly limits: RequestLimits;
}

/** Which of a prompt's tokens are kept. */
export interface Truncation {
  /** The last so many, or -1: as many as fit. Absent: all. */
  readonly tokens?: number | undefined;
  /** Tokens that must fit after them. */
  readonly answerTokens?: number | undefined;
}

/** What a conversation's prompt is made with, besides what its template gets. */
interface PromptOptions extends Truncation {
  /** Jinja source in place of the model's chat template. */
  readonly chatTemplate?: string | undefined;
}

/** The served model: checks requests against its limits, and turns texts and conversations into tokens. */
export class ServedModel {
  readonly llm: LLM;
  readonly names: readonly [string, ...string[]];
  readonly limits: RequestLimits;
  readonly bodies: BodyReader;
  /** Memory that the unfinished requests may take. */
  readonly memory: AnswerMemory;
  /** When streams may have their next events. */
  readonly pace = new EventPace();
  /** Time at which serving began, in seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);
  /** How answers to conversations are asked for and read. */
  readonly chatFormat: ChatFormat;
  readonly #parsers: ChatParsers | undefined;
  readonly #trustsTemplates: boolean;
  readonly #chatTemplate: string | undefined;
  readonly #chatTemplateKind: TemplateKind | undefined;
  readonly #schedulingPolicy: SchedulingPolicy;

  /** @throws ChatTemplateError when the template is not valid; ArgumentError about an unknown parser. */
  constructor(options: ServedModelOptions) {
    const { llm, names, chatTemplate, parsers, schedulingPolicy = 'fcfs', limits } = options;
    this.llm = llm;
    this.names = names;
    this.limits = { ...limits, maxModelLen: Math.min(limits.maxModelLen, llm.engine.maxModelLen) };
    this.bodies = new BodyReader(this.limits);
    this.memory = new AnswerMemory(this.limits);
    this.#chatTemplate = chatTemplate;
    const ownTemplate = chatTemplate === undefined ? undefined : new ChatTemplate(chatTemplate);
    this.#chatTemplateKind = ownTemplate?.kind;
    this.chatFormat = new ChatFormat(ownTemplate ?? llm.chatTemplate, llm.tokenizer, parsers);
    this.#parsers = parsers;
    this.#trustsTemplates = options.trustRequestChatTemplate ?? false;
    this.#schedulingPolicy = schedulingPolicy;
  }

  get name(): string {
    return this.names[0];
  }

  /** Whether the model takes conversations besides texts. */
  get hasChatTemplate(): boolean {
    return this.#chatTemplate !== undefined || this.llm.hasChatTemplate;
  }

  /**
   * How answers are asked for and read where a request may have a template of its own.
   * @param chatTemplate the request's.
   * @throws HttpError 400 where requests may have none; ChatTemplateError
   */
  formatOf(chatTemplate: string | undefined): ChatFormat {
    if (chatTemplate === undefined) return this.chatFormat;
    if (!this.#trustsTemplates) {
      const message = 'This server takes no templates from requests (--trust-request-chat-template).';
      throw badRequest(message, 'chat_template', 'unsupported_parameter');
    }
    return new ChatFormat(new ChatTemplate(chatTemplate), this.llm.tokenizer, this.#parsers);
  }

  /**
   * Kind of the chat template: of a model trained on conversations, or of one that continues their text. Undefined
   * without one.
   */
  get chatTemplateKind(): TemplateKind | undefined {
    return this.#chatTemplateKind ?? this.llm.chatTemplateKind;
  }

  /** Jinja source of the chat template. */
  get chatTemplateSource(): string | undefined {
    return this.#chatTemplate ?? this.llm.chatTemplate?.sources.default;
  }

  /** @throws HttpError 400 */
  assertTokenizer(): void {
    if (this.llm.tokenizer) return;
    throw badRequest('This model has no tokenizer: send token ids.', 'prompt', 'tokenizer');
  }

  /** @throws HttpError 404 */
  assertName(name: string | undefined): void {
    // Ollama's clients add a tag to each name.
    if (name === undefined || this.names.includes(name) || this.names.includes(name.replace(/:latest$/, ''))) return;
    throw new HttpError(
      404,
      `There is no model '${name.slice(0, 100)}'. This server has ${this.names.map(quoted).join(', ')}.`,
      {
        param: 'model',
        code: 'model_not_found',
      },
    );
  }

  /**
   * Refuses a priority unless the server runs with `--scheduling-policy priority`, as in vLLM.
   * @throws HttpError 400
   */
  assertPriority(priority: number | undefined): void {
    if (this.#schedulingPolicy === 'priority' || priority === undefined || priority === 0) return;
    const message = `priority is ${priority}, and this server takes requests in the order in which they come (--scheduling-policy fcfs).`;
    throw badRequest(message, 'priority', 'invalid_value');
  }

  /**
   * Token ids of a prompt. Rejects with HttpError 400, TokenIdError, EmptyPromptError, TextLimitError, or the signal's
   * reason.
   */
  async encode(
    prompt: string | ArrayLike<number>,
    options: { readonly addSpecialTokens: boolean; readonly truncation?: Truncation },
    signal: AbortSignal,
  ): Promise<readonly number[]> {
    const { addSpecialTokens, truncation } = options;
    if (typeof prompt !== 'string') return this.#promptOf(prompt, truncation);
    return this.#promptOf(
      await this.#run(this.#encoding(this.textInput(prompt, addSpecialTokens)), signal),
      truncation,
    );
  }

  /** Token ids of a conversation, in the chat template's form. Rejects as `encode` does, and with ChatTemplateError. */
  async encodeChat(
    messages: readonly ChatMessage[],
    options: RequestTemplateOptions,
    signal: AbortSignal,
    { chatTemplate, ...truncation }: PromptOptions = {},
  ): Promise<readonly number[]> {
    const input = this.chatInput(messages, options, chatTemplate);
    return this.#promptOf(await this.#run(this.#encoding(input), signal), truncation);
  }

  /** Token ids of bad words. Rejects as `encode` does. */
  async encodeBadWords(words: readonly string[], signal: AbortSignal): Promise<readonly (readonly number[])[]> {
    return encodeBadWords(words, (text) => this.#run(this.#encoding({ text, addSpecialTokens: false }), signal));
  }

  /** JSON of the token ids of a text or conversation; `tokenTexts` adds their texts. Rejects as `encode` does. */
  async list(input: TextInput, tokenTexts: boolean, signal: AbortSignal): Promise<TextResults['list']> {
    return this.#run({ type: 'list', input, maxCharacters: this.maxCharacters, tokenTexts }, signal);
  }

  /** JSON of the text of token ids, special tokens included. Rejects as `encode` does. */
  async decodeAll(tokenIds: TokenIds, signal: AbortSignal): Promise<TextResults['decode']> {
    this.assertTokenizer();
    const { vocabSize } = this.llm.config;
    return this.#run({ type: 'decode', ids: packedIds(tokenIds), vocabSize }, signal);
  }

  /** A text as the tokenizer's input. @throws HttpError 400 when there is no tokenizer, or the text is too long */
  textInput(text: string, addSpecialTokens: boolean): TextInput {
    this.assertTokenizer();
    const most = this.maxCharacters;
    if (text.length <= most) return { text, addSpecialTokens };
    const message = `The text has ${text.length} characters; this server takes ${most}.`;
    throw badRequest(message, undefined, 'context_length_exceeded');
  }

  /** A conversation as the tokenizer's input. @throws HttpError 400 when the model takes no conversations */
  chatInput(
    messages: readonly ChatMessage[],
    options: RequestTemplateOptions,
    template = this.#chatTemplate,
  ): TextInput {
    this.assertTokenizer();
    // Also where the model's template turned out to be invalid: the error of rendering it says why.
    if (template !== undefined || this.llm.chatTemplate) return { messages, template, options };
    throw badRequest(
      `'${this.name}' has no chat template. Use /v1/completions, or start the server with one.`,
      'messages',
      'chat_template',
    );
  }

  /** Text of token ids, special tokens included. */
  decode(tokenIds: readonly number[]): string {
    return this.llm.tokenizer?.decode(tokenIds, { skipSpecialTokens: false }) ?? '';
  }

  /**
   * Tokens that an answer may have: `asked`, or all that are left.
   * @throws HttpError 400 if fewer are left, or none.
   */
  answerTokens(promptTokens: number, asked: number | undefined): number {
    const { maxModelLen } = this.limits;
    const left = maxModelLen - promptTokens;
    if (left >= Math.max(asked ?? 1, 0)) return asked ?? left;
    const wanted = asked === undefined ? '' : ` and ${asked} for the answer`;
    const message = `This server takes ${maxModelLen} tokens of prompt and answer together. You asked for ${promptTokens} in the prompt${wanted}.`;
    throw badRequest(message, undefined, 'context_length_exceeded');
  }

  /**
   * Tokens that an answer may have where those that do not fit are no mistake: `asked`, or as many as are left.
   * @throws HttpError 400 if none are left.
   */
  fittingTokens(promptTokens: number, asked: number): number {
    return Math.min(asked, this.answerTokens(promptTokens, undefined));
  }

  /** Refuses long lists, which cost time at every token. @throws HttpError 400 */
  assertModest({ stop, stopTokenIds, badWords, logitBias }: SamplingParams): void {
    const { maxListLength } = this.limits;
    const sizes = { stop: stop.length, stop_token_ids: stopTokenIds.size, bad_words: badWords.length };
    for (const [name, size] of Object.entries({ ...sizes, logit_bias: logitBias.size })) {
      if (size <= maxListLength) continue;
      throw badRequest(`'${name}' has ${size} entries; this server takes ${maxListLength}.`, name, 'too_many');
    }
    for (const [name, texts] of Object.entries({ stop, bad_words: badWords })) {
      const characters = texts.reduce((sum, { length }) => sum + length, 0);
      if (characters <= MAX_LIST_CHARACTERS) continue;
      throw badRequest(`'${name}' has ${characters} characters; ${MAX_LIST_CHARACTERS} are taken.`, name, 'too_many');
    }
  }

  /** Runs a job on a thread for texts, even a short one: a template or a regular expression may run without end. */
  async #run<T extends TextJob['type']>(
    job: Extract<TextJob, { type: T }>,
    signal: AbortSignal,
  ): Promise<TextResults[T]> {
    const milliseconds = this.limits.maxTextSeconds * 1000 + sizeOf(job) * MILLISECONDS_PER_CHARACTER;
    return this.llm.texts.run(job, { milliseconds, signal });
  }

  #encoding(input: TextInput): Extract<TextJob, { type: 'encode' }> {
    return { type: 'encode', input, maxCharacters: this.maxCharacters };
  }

  /** Checks a prompt's length, and only then each of its ids. */
  #promptOf(whole: ArrayLike<number>, { tokens, answerTokens = 1 }: Truncation = {}): readonly number[] {
    const tokenIds = truncatedPrompt(whole, tokens, this.limits.maxModelLen - answerTokens);
    if (tokenIds.length > this.limits.maxModelLen) this.answerTokens(tokenIds.length, undefined);
    return this.llm.tokenize(Array.from(tokenIds));
  }

  /**
   * Limit for the length of texts. Tokenizing takes microseconds a character, so it comes before the limit of tokens.
   */
  get maxCharacters(): number {
    return this.limits.maxModelLen * CHARACTERS_PER_TOKEN;
  }
}

/** Characters of a text for each token of the limit: four times as many as prose and code have. */
const CHARACTERS_PER_TOKEN = 16;

/** Time allowed for each character: several times what the slowest text took on a slow machine. */
const MILLISECONDS_PER_CHARACTER = 0.06;

/** Limit for the characters of all stop strings, and of all bad words: each token's text is compared with them. */
const MAX_LIST_CHARACTERS = 16_384;

function quoted(name: string): string {
  return `'${name}'`;
}
