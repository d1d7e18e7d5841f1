import { AIMessage, AIMessageChunk, type StandardMessageStructure, type UsageMetadata } from '@langchain/core/messages';
import { type ChatGeneration, ChatGenerationChunk } from '@langchain/core/outputs';
import type { ChatFinishReason } from '../../engine/chat/answer-reader.ts';
import type { ChatChunk, ChatCompletion, ChatUsage } from '../../engine/chat/chat-chunk.ts';

/** An answer as LangChain's message. */
export function generation(answer: ChatCompletion, model: string): ChatGeneration {
  const { text, reasoning, toolCalls, finishReason, usage } = answer;
  const message = new AIMessage<StandardMessageStructure>({
    content: text,
    additional_kwargs: reasoning === undefined ? {} : { reasoning_content: reasoning },
    tool_calls: toolCalls.map(({ id, function: { name, arguments: json } }) => {
      return { type: 'tool_call', id, name, args: JSON.parse(json) };
    }),
    usage_metadata: usageMetadata(usage),
    response_metadata: responseMetadata(finishReason, model),
  });
  return { text, message };
}

/** One token's part of an answer; undefined: it has none. */
export function generationChunk(chunk: ChatChunk, model: string): ChatGenerationChunk | undefined {
  const { text, reasoning, toolCalls = [], finishReason, usage } = chunk;
  if (text === '' && reasoning === undefined && toolCalls.length === 0 && finishReason === null) return undefined;
  const message = new AIMessageChunk<StandardMessageStructure>({
    content: text,
    additional_kwargs: reasoning === undefined ? {} : { reasoning_content: reasoning },
    tool_call_chunks: toolCalls.map(({ index, id, name, arguments: args = '', isMalformed }) => ({
      type: 'tool_call_chunk',
      index,
      ...(id !== undefined && { id }),
      ...(name !== undefined && { name }),
      args: isMalformed ? args + NO_JSON : args,
    })),
    ...(usage && { usage_metadata: usageMetadata(usage) }),
    ...(finishReason !== null && { response_metadata: responseMetadata(finishReason, model) }),
  });
  return new ChatGenerationChunk({ text, message });
}

/**
 * Makes the arguments of a call that broke off no JSON wherever they broke off, be it after a backslash: LangChain would
 * complete them, and agents would make the call. So it is one of `invalid_tool_calls`, and its text is content.
 */
const NO_JSON = '\\x\\x';

/** Tokens as LangChain counts them. */
export function usageMetadata(usage: ChatUsage): UsageMetadata {
  const { promptTokens, cachedTokens, completionTokens, reasoningTokens } = usage;
  return {
    input_tokens: promptTokens,
    output_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    input_token_details: { cache_read: cachedTokens },
    output_token_details: { reasoning: reasoningTokens },
  };
}

function responseMetadata(finishReason: ChatFinishReason, model: string) {
  return { finish_reason: finishReason, model_name: model, model_provider: 'mamba2' };
}
