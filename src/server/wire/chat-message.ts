import { z } from 'zod';
import type { ChatMessage, TextPart } from '../../text/chat/chat-message.ts';
import { badRequest } from './http-error.ts';
import { ignored } from './ignored-fields.ts';

/** Error message for a part of an unsupported type. It names the type, because a message may have many parts. */
function onlyText({ input }: { readonly input?: unknown }): string {
  const found = typeof input === 'string' ? `'${input.slice(0, 80)}'` : 'missing';
  return `the type is ${found}; only text parts are supported`;
}

const ignoredOfParts = ignored(
  'id',
  'index',
  'status',
  'annotations',
  'logprobs',
  'citations',
  'cache_control',
  'metadata',
  'parsed',
);

const textPart = z.strictObject({
  type: z.literal(['text', 'input_text', 'output_text'], { error: onlyText }),
  text: z.string().nullable(),
  ...ignoredOfParts,
});

const refusalPart = z.strictObject({
  type: z.literal('refusal', { error: onlyText }),
  refusal: z.string(),
  ...ignoredOfParts,
});

/** An earlier call of an assistant. Its members come first, because templates print them in this order. */
export const toolCall = z.object({
  id: z.string().optional(),
  type: z.literal('function').optional(),
  function: z.object({
    name: z.string(),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown())]).optional(),
  }),
});

const textForms = [z.string(), z.array(z.union([z.string(), textPart, refusalPart]))] as const;

/** A text or its parts. */
export const messageContent = z.union(textForms);

/** Message of a request, after members that say nothing were removed. */
export const chatMessage = z.strictObject({
  role: z
    .string()
    .describe(
      "Roles that the model's template knows: system, user, assistant, tool. developer is taken for system if it is unknown.",
    ),
  content: z
    .union([...textForms, z.null()])
    .optional()
    .describe('A text, or parts of text, which are joined by line ends if the template takes no parts.'),
  name: z.string().optional(),
  refusal: z.string().optional().describe("An assistant's refusal, which takes the place of the content."),
  reasoning_content: z
    .string()
    .optional()
    .describe('Thoughts of an assistant before its content; templates may leave them out.'),
  reasoning: z.string().optional().describe('Other name of reasoning_content.'),
  tool_calls: z.array(toolCall).optional().describe('Calls that an assistant made.'),
  tool_call_id: z.string().optional().describe('Id of the call whose result the message is.'),
  ...ignored(
    'id',
    'object',
    'type',
    'index',
    'status',
    'model',
    'created',
    'created_at',
    'createdAt',
    'timestamp',
    'finish_reason',
    'stop_reason',
    'usage',
    'annotations',
    'cache_control',
    'metadata',
    'response_metadata',
  ),
});

export type ChatRequestMessage = z.infer<typeof chatMessage>;

/** Members that are not supported here. */
const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ['function_call', "Give 'tool_calls'."],
  ['audio', 'Text is all there is.'],
  ['images', 'Text is all there is.'],
  ['prefix', "Give 'continue_final_message'."],
  ['partial', "Give 'continue_final_message'."],
  ['reasoning_details', "Give 'reasoning_content'."],
  ['thinking_blocks', "Give 'reasoning_content'."],
]);

/**
 * Messages without unsupported members that are turned off, or that only repeat another.
 * @throws HttpError about an unsupported member that asks for something.
 */
export function withoutUnsupportedMembers(messages: unknown): unknown {
  if (!Array.isArray(messages)) return messages;
  return messages.map((message: unknown, i) => {
    if (typeof message !== 'object' || message === null || Array.isArray(message)) return message;
    const isThought = 'reasoning_content' in message || 'reasoning' in message;
    const members = Object.entries(message).filter(([name, value]) => {
      const hint = UNSUPPORTED.get(name);
      if (hint === undefined) return true;
      if (value === false || (isThought && hint.includes('reasoning_content'))) return false;
      const path = `messages.${i}.${name}`;
      throw badRequest(`'${path}' is not supported. ${hint}`, path, 'unsupported_parameter');
    });
    return Object.fromEntries(members);
  });
}

/** Messages as templates read them. @throws HttpError about a message without content that must have some. */
export function templateMessages(messages: readonly ChatRequestMessage[]): ChatMessage[] {
  return messages.map((message, i) => {
    const { role, name, tool_call_id: callId, tool_calls: calls } = message;
    const thought = message.reasoning_content ?? message.reasoning;
    return {
      role,
      content: contentOf(message, i),
      ...(name !== undefined && { name }),
      ...(callId !== undefined && { tool_call_id: callId }),
      ...(calls !== undefined && { tool_calls: calls.map(templateCall) }),
      // Some templates read one name, some the other.
      ...(thought !== undefined && { reasoning_content: thought, reasoning: thought }),
    };
  });
}

/** A call as templates read it. Ones without arguments have an empty object of them. */
function templateCall({ id, function: { name, arguments: given = {} } }: z.infer<typeof toolCall>): object {
  const called = { name, arguments: given === '' ? {} : given };
  return { ...(id !== undefined && { id }), type: 'function', function: called };
}

function contentOf({ role, content, refusal }: ChatRequestMessage, index: number): ChatMessage['content'] {
  const path = `messages.${index}`;
  if (refusal !== undefined) {
    if (content === undefined || content === null || content.length === 0) return refusal;
    throw badRequest(`${path} has both a content and a refusal; give one.`, `${path}.refusal`, 'invalid_value');
  }
  if (content === undefined && role !== 'assistant') {
    throw badRequest(`${path}.content: Invalid input: expected string or array.`, `${path}.content`, 'invalid_value');
  }
  if (content === undefined || content === null) return '';
  if (typeof content === 'string') return content;
  const parts = content.map((part): TextPart => ({ type: 'text', text: textOf(part) }));
  // Many clients send one part in place of its text.
  return parts.length === 1 ? parts[0].text : parts.length === 0 ? '' : parts;
}

function textOf(part: Exclude<ChatRequestMessage['content'], string | null | undefined>[number]): string {
  if (typeof part === 'string') return part;
  return ('refusal' in part ? part.refusal : part.text) ?? '';
}
