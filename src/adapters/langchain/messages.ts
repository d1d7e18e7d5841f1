import { AIMessage, type BaseMessage, ChatMessage, ToolMessage } from '@langchain/core/messages';
import { ArgumentError } from '../../errors.ts';
import type { ChatMessage as TemplateMessage } from '../../text/chat/chat-message.ts';

const ROLES: Readonly<Record<string, string>> = { human: 'user', ai: 'assistant' };

/** LangChain's messages for the chat template. @throws ArgumentError about what is no text */
export function chatMessages(messages: readonly BaseMessage[]): TemplateMessage[] {
  return messages.map((message) => {
    const { type, name } = message;
    const role = ChatMessage.isInstance(message) ? message.role : (ROLES[type] ?? type);
    const { text, reasoning } = parts(message);
    return {
      role,
      content: text,
      ...(name !== undefined && { name }),
      ...(AIMessage.isInstance(message) && assistantFields(message, reasoning)),
      ...(ToolMessage.isInstance(message) && { tool_call_id: message.tool_call_id }),
    };
  });
}

function assistantFields({ tool_calls: calls = [], additional_kwargs: more }: AIMessage, reasoning: string) {
  const thought = reasoning || String(more.reasoning_content ?? '');
  const toolCalls = calls.map(({ id, name, args }) => {
    return { id, type: 'function', function: { name, arguments: JSON.stringify(args) } };
  });
  return {
    ...(thought !== '' && { reasoning_content: thought, reasoning: thought }),
    ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
  };
}

/** Blocks of an assistant's content that `tool_calls` has too. */
const CALL_BLOCKS: readonly string[] = ['tool_call', 'tool_call_chunk', 'invalid_tool_call', 'tool_use'];

function parts({ content, type: from }: BaseMessage): { readonly text: string; readonly reasoning: string } {
  if (typeof content === 'string') return { text: content, reasoning: '' };
  const texts: string[] = [];
  const thoughts: string[] = [];
  for (const block of content) {
    const { type, text, reasoning } = block;
    if ((type === 'text' || type === 'text-plain') && typeof text === 'string') texts.push(text);
    else if (from === 'ai' && type === 'reasoning' && typeof reasoning === 'string') thoughts.push(reasoning);
    else if (from !== 'ai' || !CALL_BLOCKS.includes(type)) {
      throw new ArgumentError(`A message has a content block of the type '${type}'.`, 'Give texts only.');
    }
  }
  return { text: texts.join(from === 'ai' ? '' : '\n'), reasoning: thoughts.join('') };
}
