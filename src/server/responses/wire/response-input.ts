import { z } from 'zod';
import { type ChatRequestMessage, messageContent } from '../../wire/chat-message.ts';

/** Message of a conversation. Most clients leave the type out. */
const message = z.object({
  type: z.literal('message').optional(),
  role: z.enum(['user', 'assistant', 'system', 'developer']),
  content: messageContent,
});

/** Call that the model has made. */
const functionCall = z.object({
  type: z.literal('function_call'),
  call_id: z.string(),
  name: z.string(),
  arguments: z.string(),
});

/** Result of a call. */
const functionCallOutput = z.object({
  type: z.literal('function_call_output'),
  call_id: z.string(),
  output: messageContent,
});

const thought = z.object({ text: z.string() });

/** Thoughts of the model before what follows. */
const reasoning = z.object({
  type: z.literal('reasoning'),
  content: z.array(thought).optional(),
  summary: z.array(thought).optional(),
});

/** Items of a conversation. Members that clients send back, such as `id` and `status`, are ignored. */
const inputItem = z.discriminatedUnion('type', [message, functionCall, functionCallOutput, reasoning], {
  error: ({ input }) => {
    const type = (input as { readonly type?: unknown } | null | undefined)?.type;
    const found = typeof type === 'string' ? `the type '${type.slice(0, 80)}'` : 'no type that is known';
    return `an item with ${found} is not supported; expected message, function_call, function_call_output or reasoning`;
  },
});

type InputItem = z.infer<typeof inputItem>;

export const inputField = z
  .union([z.string(), z.array(inputItem)])
  .describe('A text, or the items of a conversation, those of earlier responses included.');

/**
 * The messages of a conversation. Thoughts, text and calls that follow each other are one message of the assistant, as
 * chat templates expect.
 */
export function inputMessages(
  input: string | readonly InputItem[],
  instructions: string | undefined,
): ChatRequestMessage[] {
  const messages: ChatRequestMessage[] = [];
  const items: readonly InputItem[] = typeof input === 'string' ? [{ role: 'user', content: input }] : input;
  let turn: AssistantTurn | undefined;
  for (const item of items) {
    const part = turnPart(item);
    if (part && turn && fits(turn, part)) turn = joined(turn, part);
    else {
      if (turn) messages.push(turn);
      turn = part;
    }
    if (item.type === 'function_call_output') {
      messages.push({ role: 'tool', tool_call_id: item.call_id, content: item.output });
    } else if (!part && 'role' in item) {
      messages.push({ role: item.role, content: item.content });
    }
  }
  if (turn) messages.push(turn);
  return instructions === undefined ? messages : withInstructions(messages, instructions);
}

type AssistantTurn = ChatRequestMessage & { readonly role: 'assistant' };

/** The item as a part of an assistant's message; undefined if it is none. */
function turnPart(item: InputItem): AssistantTurn | undefined {
  if (item.type === 'function_call') {
    const { call_id: id, name, arguments: json } = item;
    return { role: 'assistant', tool_calls: [{ id, type: 'function', function: { name, arguments: json } }] };
  }
  if (item.type === 'reasoning') {
    const { content = [], summary = [] } = item;
    const thoughts = (content.length > 0 ? content : summary).map(({ text }) => text).join('\n');
    // OpenAI's own thoughts come encrypted.
    return { role: 'assistant', ...(thoughts !== '' && { reasoning_content: thoughts }) };
  }
  if (item.type === 'function_call_output' || item.role !== 'assistant') return undefined;
  return { role: 'assistant', content: item.content };
}

/** Whether a part continues a message: thoughts, then text, then calls. */
function fits(turn: AssistantTurn, part: AssistantTurn): boolean {
  if (part.tool_calls) return true;
  return turn.tool_calls === undefined && turn.content === undefined;
}

function joined(turn: AssistantTurn, part: AssistantTurn): AssistantTurn {
  const thoughts = [turn.reasoning_content, part.reasoning_content].filter((each) => each !== undefined);
  const calls = [...(turn.tool_calls ?? []), ...(part.tool_calls ?? [])];
  return {
    ...turn,
    ...part,
    ...(thoughts.length > 0 && { reasoning_content: thoughts.join('\n') }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

/** Instructions as the beginning of the system's message: templates take one, and take it first. */
function withInstructions(messages: readonly ChatRequestMessage[], instructions: string): ChatRequestMessage[] {
  const [first, ...others] = messages;
  if (first?.role !== 'system' && first?.role !== 'developer') {
    return [{ role: 'system', content: instructions }, ...messages];
  }
  const { content } = first;
  const both = typeof content === 'string' ? `${instructions}\n\n${content}` : [instructions, ...(content ?? [])];
  return [{ ...first, content: both }, ...others];
}
