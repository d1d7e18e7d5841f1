import type { LanguageModelV4Content, LanguageModelV4FinishReason, LanguageModelV4Usage } from '@ai-sdk/provider';
import type { ChatFinishReason } from '../../engine/chat/answer-reader.ts';
import type { ChatCompletion, ChatUsage } from '../../engine/chat/chat-chunk.ts';

/** An answer as the AI SDK takes it: thoughts, text, calls. */
export function content({ text, reasoning, toolCalls }: ChatCompletion): LanguageModelV4Content[] {
  return [
    ...(reasoning === undefined ? [] : [{ type: 'reasoning' as const, text: reasoning }]),
    ...(text === '' ? [] : [{ type: 'text' as const, text }]),
    ...toolCalls.map(({ id, function: { name, arguments: input } }) => {
      return { type: 'tool-call' as const, toolCallId: id, toolName: name, input };
    }),
  ];
}

export function finishReason(reason: ChatFinishReason): LanguageModelV4FinishReason {
  return { unified: reason === 'tool_calls' ? 'tool-calls' : reason, raw: reason };
}

export function usage(tokens: ChatUsage): LanguageModelV4Usage {
  const { promptTokens, cachedTokens, completionTokens, reasoningTokens } = tokens;
  return {
    inputTokens: {
      total: promptTokens,
      noCache: promptTokens - cachedTokens,
      cacheRead: cachedTokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: completionTokens, text: completionTokens - reasoningTokens, reasoning: reasoningTokens },
  };
}
