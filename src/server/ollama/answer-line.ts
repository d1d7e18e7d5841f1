import type { JsonObject } from '../../checkpoint/json/json.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import { callInput } from '../answer/call-input.ts';
import type { Written } from '../answer/json-pieces.ts';
import type { ChatTokenLogprobs } from '../wire/chat-response.ts';

/** Parts of an answer: all of them, or what a line of a stream adds. */
export interface AnswerParts {
  readonly text: string;
  readonly reasoning?: string | undefined;
  readonly toolCalls?: readonly ToolCall[];
  readonly logprobs?: Written<readonly ChatTokenLogprobs[]> | undefined;
}

/** The endpoint, by which an answer's text has its name. */
export type AnswerKind = 'chat' | 'generate';

interface OllamaToolCall {
  readonly id: string;
  readonly function: { readonly index: number; readonly name: string; readonly arguments: JsonObject };
}

/** Fields at the head of every line. */
export interface LineHead {
  readonly model: string;
  readonly created_at: string;
}

/** Why an answer ended, and what it took. Durations are in nanoseconds. */
export interface AnswerEnd {
  readonly done: true;
  readonly done_reason: 'stop' | 'length' | 'load' | 'unload';
  readonly total_duration?: number;
  readonly load_duration?: number;
  readonly prompt_eval_count?: number;
  readonly prompt_eval_duration?: number;
  readonly eval_count?: number;
  readonly eval_duration?: number;
}

export function lineHead(model: string): LineHead {
  return { model, created_at: new Date().toISOString() };
}

/** An object of a stream, or a whole answer. */
export function answerLine(
  head: LineHead,
  kind: AnswerKind,
  { text, reasoning, toolCalls = [], logprobs }: AnswerParts,
  end: AnswerEnd | { readonly done: false },
): object {
  const thinking = reasoning === undefined ? {} : { thinking: reasoning };
  const calls = toolCalls.length === 0 ? {} : { tool_calls: toolCalls.map(toOllamaCall) };
  const answer =
    kind === 'chat'
      ? { message: { role: 'assistant', content: text, ...thinking, ...calls } }
      : { response: text, ...thinking };
  return { ...head, ...answer, ...(logprobs && { logprobs }), ...end };
}

function toOllamaCall({ id, function: called }: ToolCall, index: number): OllamaToolCall {
  return { id, function: { index, name: called.name, arguments: callInput(called.arguments) } };
}
