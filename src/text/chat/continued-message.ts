import { ChatTemplateError } from '../../errors.ts';
import { strip } from '../jinja/strings.ts';
import { type ChatMessage, isTextParts } from './chat-message.ts';

/** Mark of transformers for the end of the last message's content: a few published templates know it. */
const MARK = 'CONTINUE_FINAL_MESSAGE_TAG ';

/**
 * A prompt that ends within the last message, as transformers makes it: the content gets a mark at its end, and the
 * text ends where the mark is. Where the template trims the content, so that the mark lost its space, white space before
 * the mark goes too.
 * @param render makes the text of the messages
 * @throws ChatTemplateError where the last message has no content, or the template does not write it
 */
export function continued(
  messages: readonly ChatMessage[],
  render: (messages: readonly ChatMessage[]) => string,
): string {
  const last = messages.at(-1);
  const marked = last && markedMessage(last);
  if (marked === undefined) {
    throw new ChatTemplateError('The last message can not be continued: it has no content.', ADVICE);
  }
  const text = render([...messages.slice(0, -1), marked.message]);
  const at = text.lastIndexOf(MARK.trimEnd());
  if (at < 0 || !text.includes(strip(marked.content, null))) {
    throw new ChatTemplateError('The last message can not be continued: the chat template changes it.', ADVICE);
  }
  const before = text.slice(0, at);
  return text.startsWith(MARK, at) ? before : strip(before, null, false);
}

const ADVICE = 'Give it a content, or begin a new answer.';

/** The message with a mark at the end of its text, and that text without it; undefined if it has none. */
function markedMessage(message: ChatMessage): { readonly message: ChatMessage; readonly content: string } | undefined {
  const { content } = message;
  if (typeof content === 'string') return { message: { ...message, content: content + MARK }, content };
  const part = isTextParts(content) ? content.at(-1) : undefined;
  if (part === undefined) return undefined;
  const parts = [...content.slice(0, -1), { ...part, text: part.text + MARK }];
  return { message: { ...message, content: parts }, content: part.text };
}
