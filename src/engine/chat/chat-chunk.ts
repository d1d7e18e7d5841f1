import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { ParsedAnswer } from '../../text/parsers/parsed-answer.ts';
import { type GenerationChunk, generationChunks } from '../request/generation-chunk.ts';
import type { PromptLogprobs } from '../request/logprob-columns.ts';
import type { RequestOutput } from '../request/request-output.ts';
import type { RankedTokenLogprob } from '../sample/token-logprob.ts';
import { AnswerReader, type ChatFinishReason, type MergedDeltas, mergedDeltas } from './answer-reader.ts';

/** One token of an answer to a conversation. */
export interface ChatChunk extends Omit<GenerationChunk, 'finishReason' | 'text'>, MergedDeltas {
  /** Text of the answer that this token made certain, without thoughts and calls. */
  readonly text: string;
  readonly finishReason: ChatFinishReason | null;
  /** On an answer's last chunk: its tokens. */
  readonly usage?: ChatUsage;
}

/** Tokens of an answer. */
export interface ChatUsage {
  readonly promptTokens: number;
  /** Prompt tokens whose state came from the prefix cache. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Completion tokens that are thoughts. */
  readonly reasoningTokens: number;
}

/** Usage of all answers to one prompt. */
export function totalUsage(usages: readonly ChatUsage[]): ChatUsage {
  const sum = (name: keyof ChatUsage) => usages.reduce((total, usage) => total + usage[name], 0);
  const { promptTokens = 0, cachedTokens = 0 } = usages[0] ?? {};
  return {
    promptTokens,
    cachedTokens,
    completionTokens: sum('completionTokens'),
    reasoningTokens: sum('reasoningTokens'),
  };
}

/** An answer to a conversation. */
export interface ChatChoice {
  readonly tokenIds: readonly number[];
  /** The answer without thoughts and calls. */
  readonly text: string;
  /** Thoughts before the answer; undefined: there are none. */
  readonly reasoning: string | undefined;
  readonly toolCalls: readonly ToolCall[];
  readonly finishReason: ChatFinishReason;
  /** The answer as a message, for the conversation to continue with. */
  readonly message: ChatMessage;
  /** Where `logprobs` asks for it: one entry for each of `tokenIds`. */
  readonly logprobs?: readonly RankedTokenLogprob[];
}

/** All answers to a conversation, and the parts of the first. */
export interface ChatCompletion extends ChatChoice {
  /** The `n` answers. */
  readonly choices: readonly ChatChoice[];
  readonly usage: ChatUsage;
  /** Where `promptLogprobs` asks for it: one entry per token of the rendered conversation, null for the first. */
  readonly promptLogprobs?: PromptLogprobs;
}

/** Splits the answers of a generation into text, thoughts and calls. */
export class ChatReader {
  readonly #form: AnswerForm;
  readonly #promptTokens: number;
  readonly #answers = new Map<number, { readonly reader: AnswerReader; completionTokens: number }>();

  constructor(form: AnswerForm, promptTokens: number) {
    this.#form = form;
    this.#promptTokens = promptTokens;
  }

  *read(output: RequestOutput): Generator<ChatChunk, void> {
    const { numCachedTokens: cachedTokens } = output;
    for (const chunk of generationChunks(output)) {
      const answer = this.#answers.get(chunk.index) ?? { reader: new AnswerReader(this.#form), completionTokens: 0 };
      this.#answers.set(chunk.index, answer);
      const { reader } = answer;
      const deltas = reader.push([chunk], chunk.finishReason);
      const completionTokens = ++answer.completionTokens;
      const { finishReason, reasoningTokens } = reader;
      const usage = { promptTokens: this.#promptTokens, cachedTokens, completionTokens, reasoningTokens };
      yield { ...chunk, finishReason, ...mergedDeltas(deltas), ...(finishReason !== null && { usage }) };
    }
  }
}

/** Gathers the chunks of one answer. */
export class ChatAnswer {
  readonly #tokenIds: number[] = [];
  readonly #logprobs: RankedTokenLogprob[] = [];
  readonly #parsed = new ParsedAnswer();
  #finishReason: ChatFinishReason = 'length';
  usage: ChatUsage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };

  add(chunk: ChatChunk): void {
    const { tokenId, text, reasoning = '', toolCalls = [], logprob, topLogprobs, finishReason, usage } = chunk;
    this.usage = usage ?? this.usage;
    this.#tokenIds.push(tokenId);
    if (topLogprobs) this.#logprobs.push({ tokenId, logprob, topLogprobs });
    for (const { isMalformed, ...call } of toolCalls) {
      this.#parsed.add([isMalformed ? { type: 'malformedCall', index: call.index } : { type: 'toolCall', call }]);
    }
    this.#parsed.add([
      { type: 'reasoning', text: reasoning },
      { type: 'text', text },
    ]);
    this.#finishReason = finishReason ?? this.#finishReason;
  }

  choice(): ChatChoice {
    const { text, reasoning, toolCalls } = this.#parsed;
    return {
      tokenIds: this.#tokenIds,
      text,
      reasoning,
      toolCalls,
      finishReason: this.#finishReason,
      message: {
        role: 'assistant',
        content: text,
        ...(reasoning !== undefined && { reasoning_content: reasoning }),
        ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
      },
      ...(this.#logprobs.length > 0 && { logprobs: this.#logprobs }),
    };
  }
}
