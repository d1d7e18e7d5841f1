import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';
import type { GenerateOptions } from '../sample/sampling-params.ts';

/** Options of an answer to a conversation, besides those of every generation. */
export interface ChatTemplateInputs {
  /** Functions that the model may call, as OpenAI's API takes them. */
  readonly tools?: readonly Tool[] | undefined;
  /**
   * Which tools the answer calls. `auto`: as the model likes; `none`: the model does not see them; `required`: at least
   * one; or a function by its name. Default: auto.
   */
  readonly toolChoice?: ToolChoice | undefined;
  /** Whether an answer may have several calls. Default: true. */
  readonly parallelToolCalls?: boolean | undefined;
  /** Texts that templates for retrieval write, such as `{ title, text }`. */
  readonly documents?: readonly JsonObject[] | undefined;
  /** Further variables of the chat template, such as `{ enable_thinking: false }`. */
  readonly chatTemplateKwargs?: JsonObject | undefined;
  /** Number of tokens after which thoughts are ended. Default: as many as the answer may have. */
  readonly thinkingTokenBudget?: number | undefined;
  /** Whether the prompt ends with the head of an answer. Default: true, unless the last message is continued. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** Continues the last message instead of beginning a new one. Default: false. */
  readonly continueFinalMessage?: boolean | undefined;
}

/** Names of the parsers of an answer. */
export interface ChatParsers {
  /** How the model writes calls. Default: auto, by the chat template. See `docs/tools.md` for the names. */
  readonly toolCallParser?: string | undefined;
  /** How the model writes thoughts. Default: auto, by the chat template; `none` leaves them in the text. */
  readonly reasoningParser?: string | undefined;
}

/** Options of an answer to a conversation. */
export interface ChatOptions extends GenerateOptions, ChatTemplateInputs, ChatParsers {}
