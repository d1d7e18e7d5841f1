import { isJsonObject, type JsonObject } from '../../../checkpoint/json/json.ts';
import type { ChatTemplateInputs } from '../../../engine/chat/chat-options.ts';
import type { Tool, ToolChoice } from '../../../text/parsers/tool-definition.ts';
import { badRequest, type HttpError } from '../../wire/http-error.ts';

/** Tools and the choice among them, as `/v1/responses` takes them. */
interface ToolFields {
  readonly tools?: readonly unknown[] | undefined;
  readonly tool_choice?: string | JsonObject | undefined;
}

/** The fields as chats have them. The engine checks functions and choices. @throws HttpError about tools that are not functions. */
export function toTools({
  tools = [],
  tool_choice: choice,
}: ToolFields): Pick<ChatTemplateInputs, 'tools' | 'toolChoice'> {
  const functions = tools.map(functionTool);
  if (!isJsonObject(choice)) return { tools: functions, toolChoice: choice as ToolChoice | undefined };
  if (choice.type === 'function') return { tools: functions, toolChoice: named(choice) };
  if (choice.type !== 'allowed_tools') throw unsupported('tool_choice', choice.type);
  const allowed = new Set(allowedTools(choice).map(({ function: { name } }) => name));
  return {
    tools: functions.filter(({ function: { name } }) => allowed.has(name)),
    toolChoice: choice.mode as ToolChoice | undefined,
  };
}

function functionTool(tool: unknown, index: number): Tool {
  const { type, name, description, parameters, strict } = isJsonObject(tool) ? tool : {};
  if (type !== 'function') throw unsupported(`tools.${index}`, type);
  return {
    type,
    function: {
      name,
      ...(isGiven(description) && { description }),
      ...(isGiven(parameters) && { parameters }),
      ...(isGiven(strict) && { strict }),
    } as Tool['function'],
  };
}

function allowedTools({ tools }: JsonObject): Exclude<ToolChoice, string>[] {
  if (!Array.isArray(tools)) throw badRequest("'tool_choice' has no list of tools.", 'tool_choice', 'invalid_value');
  return tools.map((tool) => {
    if (!isJsonObject(tool) || tool.type !== 'function') {
      throw unsupported('tool_choice', isJsonObject(tool) ? tool.type : undefined);
    }
    return named(tool);
  });
}

function named({ name }: JsonObject): Exclude<ToolChoice, string> {
  return { type: 'function', function: { name: name as string } };
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function unsupported(path: string, type: unknown): HttpError {
  const found = typeof type === 'string' ? `'${type.slice(0, 80)}'` : 'missing';
  const message = `'${path}' has the type ${found}, which is not supported. Tools are functions, which your program runs.`;
  return badRequest(message, path, 'unsupported_parameter');
}
