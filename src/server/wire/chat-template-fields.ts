import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../checkpoint/json/json.ts';
import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';
import { badRequest } from './http-error.ts';

const anyObject = z.custom<JsonObject>(isJsonObject, 'expected an object');

/**
 * Fields that the chat template gets, or that decide what it gets. Objects stay as they came, because templates print
 * them in their order; the engine checks tools.
 */
export const chatTemplateFields = {
  tools: z
    .custom<Tool[]>(Array.isArray, 'expected a list of tools')
    .optional()
    .meta({
      description:
        "Functions that the model may call: { type: 'function', function: { name, description, parameters } }.",
      type: 'array',
      items: { type: 'object' },
    }),
  tool_choice: z
    .custom<ToolChoice>(isChoice, 'expected a text or an object')
    .optional()
    .meta({
      description: 'auto, none, required, or a function by its name. Default: auto.',
      anyOf: [{ type: 'string', enum: ['auto', 'none', 'required'] }, { type: 'object' }],
    }),
  documents: z
    .array(anyObject)
    .optional()
    .meta({
      description: 'Texts for templates that write some.',
      type: 'array',
      items: { type: 'object' },
    }),
  chat_template_kwargs: anyObject.optional().meta({
    description: 'Further variables of the chat template, such as enable_thinking.',
    type: 'object',
  }),
  enable_thinking: z.boolean().optional().describe('Short for chat_template_kwargs: {"enable_thinking": …}.'),
  reasoning_effort: z
    .string()
    .optional()
    .describe('The variable of that name of the chat template; none also sets enable_thinking to false.'),
  add_generation_prompt: z
    .boolean()
    .optional()
    .describe('Ends the conversation with the head of an answer. Default: true, unless the last message is continued.'),
  continue_final_message: z.boolean().optional().describe('Continues the last message instead of beginning a new one.'),
} as const;

type ChatTemplateBody = z.infer<z.ZodObject<typeof chatTemplateFields>> & {
  readonly parallel_tool_calls?: boolean | undefined;
  readonly thinking_token_budget?: number | undefined;
};

/** The fields as the engine takes them. @throws HttpError about two that contradict each other. */
export function toTemplateInputs(body: ChatTemplateBody): ChatTemplateInputs {
  const { add_generation_prompt: addGenerationPrompt, continue_final_message: continueFinalMessage } = body;
  if (addGenerationPrompt && continueFinalMessage) {
    const message = "'continue_final_message' and 'add_generation_prompt' can't both be true.";
    throw badRequest(message, 'continue_final_message', 'invalid_value');
  }
  return {
    tools: body.tools,
    toolChoice: body.tool_choice,
    parallelToolCalls: body.parallel_tool_calls,
    thinkingTokenBudget: body.thinking_token_budget,
    documents: body.documents,
    chatTemplateKwargs: templateKwargs(body),
    addGenerationPrompt,
    continueFinalMessage,
  };
}

/** The further variables of a template. */
export function templateKwargs(
  body: Pick<ChatTemplateBody, 'chat_template_kwargs' | 'enable_thinking' | 'reasoning_effort'>,
): JsonObject | undefined {
  const { reasoning_effort: effort, enable_thinking: thinks = effort === 'none' ? false : undefined } = body;
  const kwargs: JsonObject = {
    ...(effort !== undefined && { reasoning_effort: effort }),
    ...(thinks !== undefined && { enable_thinking: thinks }),
    ...body.chat_template_kwargs,
  };
  return Object.keys(kwargs).length === 0 ? undefined : kwargs;
}

function isChoice(value: unknown): value is ToolChoice {
  return typeof value === 'string' || isJsonObject(value);
}
