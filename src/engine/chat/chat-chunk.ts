import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { ParsedAnswer } from '../../text/parsers/parsed-answer.ts';
import type { GenerationChunk } from '../request/generation-chunk.ts';
import { AnswerReader, type ChatFinishReason, type MergedDeltas, mergedDeltas } from './answer-reader.ts';

/** One token of an answer to a conversation. */
export interface ChatChunk extends Omit<GenerationChunk, 'finishReason' | 'text'>, MergedDeltas {
  /** Text of the answer that this token made certain, without thoughts and calls. */
  readonly text: string;
  readonly finishReason: ChatFinishReason | null;
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
}

/** All answers to a conversation, and the parts of the first. */
export interface ChatCompletion extends ChatChoice {
  /** The `n` answers. */
  readonly choices: readonly ChatChoice[];
}

/** Splits the answers of a generation into text, thoughts and calls. */
export class ChatReader {
  readonly #form: AnswerForm;
  readonly #readers = new Map<number, AnswerReader>();

  constructor(form: AnswerForm) {
    this.#form = form;
  }

  read(chunk: GenerationChunk): ChatChunk {
    const reader = this.#readers.get(chunk.index) ?? new AnswerReader(this.#form);
    this.#readers.set(chunk.index, reader);
    const deltas = reader.push([chunk], chunk.finishReason);
    return { ...chunk, finishReason: reader.finishReason, ...mergedDeltas(deltas) };
  }
}

/** Gathers the chunks of one answer. */
export class ChatAnswer {
  readonly #tokenIds: number[] = [];
  readonly #parsed = new ParsedAnswer();
  #finishReason: ChatFinishReason = 'length';

  add({ tokenId, text, reasoning = '', toolCalls = [], finishReason }: ChatChunk): void {
    this.#tokenIds.push(tokenId);
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
    };
  }
}
