import { GENERATE_OPTIONS, type OptionNames } from '../sample/option-names.ts';
import type { ChatOptions } from './chat-options.ts';

/** Names of the options of `llm.chat`. */
export const CHAT_OPTIONS: OptionNames<ChatOptions> = {
  ...GENERATE_OPTIONS,
  tools: true,
  toolChoice: true,
  parallelToolCalls: true,
  documents: true,
  chatTemplateKwargs: true,
  thinkingTokenBudget: true,
  addGenerationPrompt: true,
  continueFinalMessage: true,
  toolCallParser: true,
  reasoningParser: true,
};
