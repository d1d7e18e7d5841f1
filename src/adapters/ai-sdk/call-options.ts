import type { LanguageModelV4CallOptions, SharedV4Warning } from '@ai-sdk/provider';
import { closestNames } from '../../checkpoint/closest-names.ts';
import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import { CHAT_OPTIONS } from '../../engine/chat/chat-option-names.ts';
import type { ChatOptions } from '../../engine/chat/chat-options.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';

/** Options of a call as the model takes them, and what they leave out. */
export interface CallPlan {
  readonly options: ChatOptions;
  readonly warnings: SharedV4Warning[];
}

/** Options of a call of the AI SDK. `providerOptions.mamba2` has any option of `llm.chat`, and goes before others. */
export function callPlan(call: LanguageModelV4CallOptions, maxTokens: number): CallPlan {
  const warnings: SharedV4Warning[] = [];
  const { reasoning = 'provider-default', responseFormat } = call;
  const kwargs: JsonObject =
    reasoning === 'provider-default'
      ? {}
      : { enable_thinking: reasoning !== 'none', ...(reasoning !== 'none' && { reasoning_effort: reasoning }) };
  const options: ChatOptions = {
    maxTokens: call.maxOutputTokens ?? maxTokens,
    temperature: call.temperature,
    topP: call.topP,
    topK: call.topK,
    presencePenalty: call.presencePenalty,
    frequencyPenalty: call.frequencyPenalty,
    seed: call.seed,
    stop: call.stopSequences,
    signal: call.abortSignal,
    tools: tools(call, warnings),
    toolChoice: toolChoice(call),
    chatTemplateKwargs: Object.keys(kwargs).length === 0 ? undefined : kwargs,
    structuredOutputs: responseFormat?.type === 'json' ? json(responseFormat.schema) : undefined,
  };
  return { options: { ...options, ...ownOptions(call.providerOptions?.mamba2 ?? {}, warnings) }, warnings };
}

/** The options among what a caller gives under this provider's name. Others come back as warnings, with the closest one's name. */
function ownOptions(given: object, warnings: SharedV4Warning[]): ChatOptions {
  const isKnown = (name: string) => Object.hasOwn(CHAT_OPTIONS, name);
  for (const name of Object.keys(given)) {
    if (isKnown(name)) continue;
    const [closest] = closestNames(name, Object.keys(CHAT_OPTIONS), 1);
    const details = `There is no such option. Did you mean '${closest}'?`;
    warnings.push({ type: 'unsupported', feature: `providerOptions.mamba2.${name}`, details });
  }
  return Object.fromEntries(Object.entries(given).filter(([name]) => isKnown(name)));
}

function tools({ tools = [] }: LanguageModelV4CallOptions, warnings: SharedV4Warning[]): Tool[] | undefined {
  const known = tools.flatMap((tool): Tool[] => {
    if (tool.type !== 'function') {
      warnings.push({ type: 'unsupported', feature: `provider-defined tool ${tool.id}` });
      return [];
    }
    const { name, description, inputSchema, strict } = tool;
    const parameters = inputSchema as JsonObject;
    return [
      {
        type: 'function',
        function: {
          name,
          ...(description !== undefined && { description }),
          parameters,
          ...(strict !== undefined && { strict }),
        },
      },
    ];
  });
  return known.length === 0 ? undefined : known;
}

function toolChoice({ toolChoice: choice }: LanguageModelV4CallOptions): ToolChoice | undefined {
  if (choice === undefined) return undefined;
  return choice.type === 'tool' ? { type: 'function', function: { name: choice.toolName } } : choice.type;
}

function json(schema: object | undefined): StructuredOutputs {
  return schema === undefined ? { jsonObject: true } : { json: schema as JsonObject };
}
