import type {
  BaseChatModelCallOptions,
  BindToolsInput,
  ToolChoice as LangChainToolChoice,
} from '@langchain/core/language_models/chat_models';
import { convertToOpenAITool } from '@langchain/core/utils/function_calling';
import { toJsonSchema } from '@langchain/core/utils/json_schema';
import { isSerializableSchema } from '@langchain/core/utils/standard_schema';
import { isInteropZodSchema } from '@langchain/core/utils/types';
import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import { CHAT_OPTIONS } from '../../engine/chat/chat-option-names.ts';
import type { ChatOptions } from '../../engine/chat/chat-options.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';

/**
 * Options of an answer: those of `llm.chat`, without what LangChain has under names of its own, what its messages have no
 * place for, and what is no JSON, as its caches need it.
 */
export interface ChatMamba2Options
  extends Omit<
    ChatOptions,
    | 'tools'
    | 'toolChoice'
    | 'stop'
    | 'signal'
    | 'n'
    | 'seed'
    | 'logitBias'
    | 'logitsProcessors'
    | 'logprobs'
    | 'logprobsMode'
    | 'promptLogprobs'
    | 'halfLifeInterval'
  > {
  readonly seed?: number | undefined;
  readonly logitBias?: Readonly<Record<number, number>> | undefined;
  /** Strings that end the answer; they are not part of it. */
  readonly stop?: string[];
}

/** Options of `llm.chat` that are none of {@link ChatMamba2Options}. */
const LEFT_OUT: Readonly<Record<Exclude<keyof ChatOptions, keyof ChatMamba2Options>, true>> = {
  tools: true,
  toolChoice: true,
  signal: true,
  n: true,
  logitsProcessors: true,
  logprobs: true,
  logprobsMode: true,
  promptLogprobs: true,
  halfLifeInterval: true,
};

/** The options among what a caller of LangChain gives. */
export function ownOptions(given: object): ChatMamba2Options {
  const isOwn = (name: string) => Object.hasOwn(CHAT_OPTIONS, name) && !Object.hasOwn(LEFT_OUT, name);
  return Object.fromEntries(Object.entries(given).filter(([name, value]) => isOwn(name) && value !== undefined));
}

/** Options of a call. */
export interface ChatMamba2CallOptions extends Omit<BaseChatModelCallOptions, 'stop'>, ChatMamba2Options {
  readonly tools?: readonly BindToolsInput[] | undefined;
  /** Whether arguments of all tools must fit their schemas: a grammar enforces it. */
  readonly strict?: boolean | undefined;
  readonly response_format?: ResponseFormat | undefined;
}

/** The form of an answer, as OpenAI's API takes it. */
export interface ResponseFormat {
  readonly type: 'text' | 'json_object' | 'json_schema';
  readonly json_schema?: { readonly schema: object };
}

/** A schema in any form that LangChain takes, as JSON Schema. */
export function jsonSchemaOf(schema: object): JsonObject {
  const isSchemaObject = isInteropZodSchema(schema) || isSerializableSchema(schema);
  return (isSchemaObject ? toJsonSchema(schema) : schema) as JsonObject;
}

/** Options for `llm.chat`. */
export function chatOptions(
  options: ChatMamba2Options,
  call: Omit<ChatMamba2CallOptions, keyof ChatMamba2Options>,
): ChatOptions {
  const { tools = [], tool_choice: choice, strict, response_format: format, signal } = call;
  return {
    ...options,
    signal,
    tools: tools.length === 0 ? undefined : tools.map((tool) => openAITool(tool, strict)),
    toolChoice: toolChoice(choice),
    structuredOutputs: options.structuredOutputs ?? structuredOutputs(format),
  };
}

function openAITool(tool: BindToolsInput, strict: boolean | undefined): Tool {
  const { type, function: called } = convertToOpenAITool(tool);
  return { type, function: { ...called, ...(strict !== undefined && { strict }) } } as Tool;
}

function toolChoice(choice: LangChainToolChoice | undefined): ToolChoice | undefined {
  if (typeof choice !== 'string') return choice as ToolChoice | undefined;
  if (choice === 'auto' || choice === 'none' || choice === 'required') return choice;
  return choice === 'any' ? 'required' : { type: 'function', function: { name: choice } };
}

function structuredOutputs(format: ResponseFormat | undefined): StructuredOutputs | undefined {
  if (format?.type === 'json_object') return { jsonObject: true };
  if (format?.type !== 'json_schema' || !format.json_schema) return undefined;
  return { json: jsonSchemaOf(format.json_schema.schema) };
}
