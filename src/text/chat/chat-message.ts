/** A part of a message. Templates may read further fields. */
export interface TextPart {
  readonly type: 'text';
  readonly text: string;
  readonly [field: string]: unknown;
}

/**
 * One turn of a conversation. Templates may read further fields.
 *
 * @example
 * ```ts
 * const message: ChatMessage = { role: 'user', content: 'Hello' };
 * ```
 */
export interface ChatMessage {
  readonly role: string;
  /** A text, or parts of one: for a template that does not handle parts they are joined by line ends. */
  readonly content: string | readonly TextPart[];
  readonly [field: string]: unknown;
}

/** Whether the content is a list of text parts. */
export function isTextParts(content: unknown): content is readonly TextPart[] {
  return Array.isArray(content) && content.every(isTextPart);
}

function isTextPart(part: unknown): boolean {
  if (typeof part !== 'object' || part === null) return false;
  const { type, text } = part as { readonly type?: unknown; readonly text?: unknown };
  return type === 'text' && typeof text === 'string';
}

/** The text of a message's content; undefined if the content is not text. */
export function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content;
  return isTextParts(content) ? content.map(({ text }) => text).join('\n') : undefined;
}

/** Characters of a message: its text and its calls. */
export function messageSize({ content, tool_calls: calls }: ChatMessage): number {
  return (textOf(content)?.length ?? 0) + (Array.isArray(calls) ? jsonSize(calls) : 0);
}

/** Characters of a value's JSON; 0 for what has none. */
export function jsonSize(value: readonly unknown[]): number {
  if (value.length === 0) return 0;
  try {
    return JSON.stringify(value).length;
  } catch {
    return 0;
  }
}
