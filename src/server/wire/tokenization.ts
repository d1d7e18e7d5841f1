import { z } from 'zod';
import { chatMessage } from './chat-message.ts';
import { chatTemplateFields } from './chat-template-fields.ts';
import { tokenIdsField } from './prompt-field.ts';

/** `POST /tokenize`, in vLLM's form: a text or a conversation. */
export const tokenizeRequest = z.strictObject({
  model: z.string().optional(),
  prompt: z.string().optional().describe('A text; or give messages.'),
  messages: z.array(chatMessage).min(1).optional().describe('A conversation; or give a prompt.'),
  add_special_tokens: z.boolean().optional().describe('Default: true for a text, false for a conversation.'),
  ...chatTemplateFields,
  return_token_strs: z.boolean().optional().describe("Also gives each token's text."),
});

/** `POST /detokenize` */
export const detokenizeRequest = z.strictObject({ model: z.string().optional(), tokens: tokenIdsField });
