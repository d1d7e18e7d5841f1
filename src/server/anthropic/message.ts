import type { JsonObject } from '../../checkpoint/json/json.ts';
import type { ChatFinishReason } from '../../engine/chat/answer-reader.ts';
import type { Usage } from '../wire/usage.ts';

/** A part of an answer. */
export type ContentBlock =
  | { readonly type: 'text'; readonly text: string; readonly citations: null }
  | { readonly type: 'thinking'; readonly thinking: string; readonly signature: string }
  | ToolUseBlock;

export interface ToolUseBlock {
  readonly type: 'tool_use';
  readonly id: string;
  readonly name: string;
  readonly input: JsonObject;
  readonly caller: { readonly type: 'direct' };
}

export type StopReason = 'end_turn' | 'max_tokens' | 'stop_sequence' | 'tool_use' | 'model_context_window_exceeded';

/** Why an answer ended; fields that only Anthropic's own services fill are null. */
export interface MessageEnd {
  readonly stop_reason: StopReason | null;
  readonly stop_sequence: string | null;
  readonly stop_details: null;
  readonly container: null;
}

/** Tokens of an answer, as Anthropic counts them. */
export interface MessageUsage {
  /** Prompt tokens without those whose state came from the prefix cache. */
  readonly input_tokens: number;
  readonly cache_read_input_tokens: number;
  readonly cache_creation_input_tokens: number;
  readonly output_tokens: number;
  /** Present for models that think. */
  readonly output_tokens_details: { readonly thinking_tokens: number } | null;
  readonly server_tool_use: null;
}

/** An answer of `/v1/messages`, and the beginning of one that is streamed. */
export interface Message extends MessageEnd {
  readonly id: string;
  readonly type: 'message';
  readonly role: 'assistant';
  readonly model: string;
  readonly content: readonly ContentBlock[];
  readonly diagnostics: null;
  readonly usage: MessageUsage & {
    readonly cache_creation: null;
    readonly inference_geo: null;
    readonly service_tier: null;
    readonly speed: null;
  };
}

/** An event of a stream of `/v1/messages`. */
export type MessageEvent =
  | { readonly type: 'message_start'; readonly message: Message }
  | { readonly type: 'ping' }
  | { readonly type: 'content_block_start'; readonly index: number; readonly content_block: ContentBlock }
  | { readonly type: 'content_block_delta'; readonly index: number; readonly delta: ContentBlockDelta }
  | { readonly type: 'content_block_stop'; readonly index: number }
  | { readonly type: 'message_delta'; readonly delta: MessageEnd; readonly usage: MessageUsage }
  | { readonly type: 'message_stop' };

export type ContentBlockDelta =
  | { readonly type: 'text_delta'; readonly text: string }
  | { readonly type: 'thinking_delta'; readonly thinking: string }
  | { readonly type: 'signature_delta'; readonly signature: string }
  | { readonly type: 'input_json_delta'; readonly partial_json: string };

/** @param thinkingTokens undefined: the model does not think */
export function messageUsage(usage: Usage, thinkingTokens: number | undefined): MessageUsage {
  const { cached_tokens: cached } = usage.prompt_tokens_details;
  return {
    input_tokens: usage.prompt_tokens - cached,
    cache_read_input_tokens: cached,
    cache_creation_input_tokens: 0,
    output_tokens: usage.completion_tokens,
    output_tokens_details: thinkingTokens === undefined ? null : { thinking_tokens: thinkingTokens },
    server_tool_use: null,
  };
}

/** What ended an answer. */
interface AnswerEnd {
  readonly finishReason: ChatFinishReason | null;
  readonly stopReason: string | number | null;
}

/** @param fillsContext whether the answer was given all tokens that fit, fewer than were asked for */
export function messageEnd({ finishReason, stopReason }: AnswerEnd, fillsContext: boolean): MessageEnd {
  // A number is a token that the model or the request names: for this API the model has ended its turn.
  const sequence = finishReason === 'stop' && typeof stopReason === 'string' ? stopReason : null;
  return { ...NO_END, stop_reason: reasonOf(finishReason, sequence, fillsContext), stop_sequence: sequence };
}

/** The end of a message that has not ended. */
export const NO_END: MessageEnd = { stop_reason: null, stop_sequence: null, stop_details: null, container: null };

function reasonOf(
  finishReason: ChatFinishReason | null,
  sequence: string | null,
  fillsContext: boolean,
): StopReason | null {
  if (finishReason === 'length') return fillsContext ? 'model_context_window_exceeded' : 'max_tokens';
  if (finishReason === 'tool_calls') return 'tool_use';
  if (sequence !== null) return 'stop_sequence';
  return finishReason === null ? null : 'end_turn';
}
