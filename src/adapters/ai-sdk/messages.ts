import type { LanguageModelV4Message, LanguageModelV4Prompt, LanguageModelV4ToolResultPart } from '@ai-sdk/provider';
import { ArgumentError } from '../../errors.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';

/** A prompt of the AI SDK as messages for the chat template. @throws ArgumentError about a part that is not text */
export function chatMessages(prompt: LanguageModelV4Prompt): ChatMessage[] {
  return prompt.flatMap((message) => {
    if (message.role === 'system') return [{ role: 'system', content: message.content }];
    if (message.role === 'user') return [{ role: 'user', content: message.content.map(textOf).join('\n') }];
    if (message.role === 'assistant') return assistantMessages(message.content);
    return message.content.flatMap((part) => (part.type === 'tool-result' ? [toolMessage(part)] : []));
  });
}

type Part<Role extends LanguageModelV4Message['role']> = Exclude<
  Extract<LanguageModelV4Message, { role: Role }>['content'],
  string
>[number];

function textOf(part: Part<'user'> | Part<'assistant'>): string {
  if (part.type === 'text') return part.text;
  if (part.type === 'file' && part.data.type === 'text') return part.data.text;
  throw new ArgumentError(`The prompt has a part of the type '${part.type}'.`, 'Give texts only.');
}

/** An assistant's turn, and results of calls that came with it. */
function assistantMessages(content: readonly Part<'assistant'>[]): ChatMessage[] {
  const texts: string[] = [];
  const thoughts: string[] = [];
  const calls: object[] = [];
  const results: ChatMessage[] = [];
  for (const part of content) {
    if (part.type === 'reasoning') thoughts.push(part.text);
    else if (part.type === 'tool-result') results.push(toolMessage(part));
    else if (part.type === 'tool-call') {
      const called = { name: part.toolName, arguments: JSON.stringify(part.input ?? {}) };
      calls.push({ id: part.toolCallId, type: 'function', function: called });
    } else texts.push(textOf(part));
  }
  const thought = thoughts.join('');
  const message: ChatMessage = {
    role: 'assistant',
    content: texts.join(''),
    ...(thought !== '' && { reasoning_content: thought, reasoning: thought }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
  return [message, ...results];
}

function toolMessage({ toolCallId, toolName, output }: LanguageModelV4ToolResultPart): ChatMessage {
  return { role: 'tool', name: toolName, tool_call_id: toolCallId, content: resultText(output) };
}

function resultText(output: LanguageModelV4ToolResultPart['output']): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value;
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value);
    case 'execution-denied':
      return output.reason ?? 'The call was denied.';
    case 'content':
      return output.value
        .map((part) => {
          if (part.type === 'text') return part.text;
          throw new ArgumentError(`A tool's result has a part of the type '${part.type}'.`, 'Give texts only.');
        })
        .join('\n');
  }
}
