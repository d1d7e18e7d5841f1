import { AnswerReader } from '../../engine/chat/answer-reader.ts';
import { ChatFormat, type ChatPlan } from '../../engine/chat/chat-format.ts';
import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { LLM } from '../../engine/llm.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { Session } from '../../engine/session/session.ts';
import { ChatTemplateError } from '../../errors.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import { ParsedAnswer } from '../../text/parsers/parsed-answer.ts';
import type { Tool } from '../../text/parsers/tool-definition.ts';

/** Tokens at the end of messages that may become others when a message follows: they are processed with it. */
const OPEN_TOKENS = 4;

/**
 * A conversation and the model's state after it. It is only ever replaced as a whole: what adds to it works on a fork, of
 * which nothing stays unless `keep` is called.
 */
export class Conversation {
  readonly #llm: LLM;
  readonly #tools: readonly Tool[];
  #session: Session;
  #messages: readonly ChatMessage[];
  #length: number;

  constructor(llm: LLM, tools: readonly Tool[], from?: Conversation) {
    this.#llm = llm;
    this.#tools = tools;
    this.#session = from ? from.#session.fork() : llm.createSession();
    this.#messages = from ? from.#messages : [];
    this.#length = from ? from.#length : 0;
  }

  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** Tokens so far. */
  get length(): number {
    return this.#length;
  }

  /** One that continues on its own from here. It costs nothing until it does. */
  fork(): Conversation {
    return new Conversation(this.#llm, this.#tools, this);
  }

  /** Takes the place of another conversation's state, which is let go of. */
  keep(other: Conversation): void {
    this.dispose();
    this.#session = other.#session;
    this.#messages = other.#messages;
    this.#length = other.#length;
  }

  /** Forgets messages between others. Their tokens go with the next message that comes. */
  forget(begin: number, count: number): void {
    this.#messages = this.#messages.toSpliced(begin, count);
  }

  /** Tokens with further messages, before an answer if one follows. */
  async measure(messages: readonly ChatMessage[], options: ChatTemplateInputs, signal?: AbortSignal): Promise<number> {
    return (await this.#encode([...this.#messages, ...messages], this.#plan(options), signal)).length;
  }

  /** Adds messages and processes them. A template that wants others first gets these later. */
  async append(messages: readonly ChatMessage[], signal?: AbortSignal): Promise<void> {
    const all = [...this.#messages, ...messages];
    this.#messages = all;
    try {
      const tokenIds = await this.#encode(all, this.#plan({ addGenerationPrompt: false }), signal);
      const rest = this.#rewindTo(tokenIds.slice(0, -OPEN_TOKENS));
      if (rest.length > 0) await this.#session.append(rest, { signal });
      this.#length = tokenIds.length;
    } catch (error) {
      if (!(error instanceof ChatTemplateError)) throw error;
    }
  }

  /** Adds messages, and the model's answer to them, whose text `receive` gets. @returns the calls that it asks for. */
  async answer(
    messages: readonly ChatMessage[],
    options: GenerateOptions,
    inputs: ChatTemplateInputs,
    receive: (text: string) => void,
  ): Promise<readonly ToolCall[]> {
    const { signal } = options;
    const all = [...this.#messages, ...messages];
    const plan = this.#plan(inputs);
    const tokenIds = await this.#encode(all, plan, signal);
    const rest = this.#rewindTo(tokenIds);
    const reader = new AnswerReader(plan.form(tokenIds));
    const answer = new ParsedAnswer();
    const chunks = this.#session.generate(rest.length === 0 ? undefined : rest, plan.generate(options, tokenIds));
    for await (const chunk of chunks) {
      const deltas = reader.push([chunk], chunk.finishReason);
      answer.add(deltas);
      for (const delta of deltas) if (delta.type === 'text') receive(delta.text);
    }
    const { text, reasoning, toolCalls } = answer;
    const message = {
      role: 'assistant',
      content: text,
      ...(reasoning !== undefined && { reasoning_content: reasoning }),
      ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
    };
    const begun = inputs.continueFinalMessage ? all.pop() : undefined;
    this.#messages = [...all, begun ? { ...message, content: `${begun.content}${text}` } : message];
    this.#length = this.#session.tokenIds.length;
    return reader.finishReason === 'tool_calls' ? toolCalls : [];
  }

  dispose(): void {
    this.#session.dispose();
  }

  #plan(options: ChatTemplateInputs): ChatPlan {
    return new ChatFormat(this.#llm.chatTemplate, this.#llm.tokenizer).plan({ ...options, tools: this.#tools });
  }

  async #encode(
    messages: readonly ChatMessage[],
    { template }: ChatPlan,
    signal: AbortSignal | undefined,
  ): Promise<readonly number[]> {
    const input = { messages, options: template };
    const job = { type: 'encode', input, maxCharacters: Number.POSITIVE_INFINITY } as const;
    return [...(await this.#llm.texts.runUnlessShort(job, { signal }))];
  }

  /** Goes back to where the session and these tokens part. @returns the tokens from there on. */
  #rewindTo(tokenIds: readonly number[]): readonly number[] {
    const known = this.#session.tokenIds;
    const parting = known.findIndex((id, i) => id !== tokenIds[i]);
    const length = parting < 0 ? known.length : parting;
    this.#session.rewind(known.length - length);
    return tokenIds.slice(length);
  }
}
