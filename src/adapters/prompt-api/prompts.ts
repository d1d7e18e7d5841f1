import type { ChatMessage } from '../../text/chat/chat-message.ts';

/** Roles of messages. */
export type LanguageModelRole = 'system' | 'user' | 'assistant';

/** A part of a message. Models here read texts. */
export interface LanguageModelMessageContent {
  readonly type: 'text' | 'image' | 'audio' | 'tool-call' | 'tool-response';
  readonly value: unknown;
}

/** A message of a conversation. */
export interface LanguageModelMessage {
  readonly role: LanguageModelRole;
  readonly content: string | readonly LanguageModelMessageContent[];
  /** Whether the answer continues this message, which must be the last, and the assistant's. Default: false. */
  readonly prefix?: boolean | undefined;
}

/** A text of the user's, or messages. */
export type LanguageModelPrompt = string | readonly LanguageModelMessage[];

/** Options of a prompt. */
export interface LanguageModelPromptOptions {
  /** Form of the answer: a JSON Schema, or a regular expression that all of it matches. */
  readonly responseConstraint?: object | undefined;
  /** Leaves the form out of what the model reads. Default: false. */
  readonly omitResponseConstraintInput?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Messages for the chat template. */
export interface CheckedPrompt {
  readonly messages: readonly ChatMessage[];
  /** Whether the answer continues the last message. */
  readonly isPrefix: boolean;
}

const ROLES: readonly string[] = ['system', 'user', 'assistant'] satisfies LanguageModelRole[];

/**
 * A prompt, checked as the specification says.
 * @param hasContext whether messages came before it, so that no system prompt may follow.
 * @throws TypeError, or DOMException with the name SyntaxError or NotSupportedError
 */
export function checkedPrompt(input: LanguageModelPrompt, hasContext: boolean): CheckedPrompt {
  if (typeof input === 'string' || input.length === 0) {
    return { messages: [{ role: 'user', content: String(input) }], isPrefix: false };
  }
  const last = input.length - 1;
  const messages = input.map(({ role, content, prefix = false }, i) => {
    if (!ROLES.includes(role)) throw new TypeError(`A message has the role '${role}'; expected ${ROLES.join(', ')}.`);
    if (prefix && (role !== 'assistant' || i < last)) {
      throw new DOMException("Only the last message can be a prefix, and only the assistant's.", 'SyntaxError');
    }
    if (role === 'system' && (hasContext || i > 0)) {
      throw new TypeError('A system prompt must be the first message of the conversation.');
    }
    return { role, content: typeof content === 'string' ? content : content.map(textOf).join('') };
  });
  return { messages, isPrefix: input[last].prefix === true };
}

function textOf({ type, value }: LanguageModelMessageContent): string {
  if (type !== 'text') throw new DOMException(`The model reads no content of the type '${type}'.`, 'NotSupportedError');
  if (typeof value === 'string') return value;
  throw new TypeError(`A content of the type 'text' has the value of a ${typeof value}; expected a string.`);
}
