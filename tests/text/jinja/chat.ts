import type { ChatMessage, ChatTemplate } from '../../../src/text/chat/chat-template.ts';
import type { Variables } from './conversations.ts';

/** Renders a conversation as programs give it to a model. */
export function renderChat(template: ChatTemplate, variables: Variables, isContinued = false): string {
  const { messages, tools, documents, add_generation_prompt, bos_token, eos_token, ...kwargs } = variables;
  return template.render(messages as unknown as readonly ChatMessage[], {
    addGenerationPrompt: add_generation_prompt === true,
    bosToken: `${bos_token}`,
    eosToken: `${eos_token}`,
    tools: Array.isArray(tools) ? tools : undefined,
    documents: Array.isArray(documents) ? documents : undefined,
    kwargs,
    continueFinalMessage: isContinued,
  });
}
