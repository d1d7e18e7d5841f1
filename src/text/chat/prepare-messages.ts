import { ChatTemplateError } from '../../errors.ts';
import { fromJson } from '../jinja/json.ts';
import { Dict } from '../jinja/values.ts';
import { type ChatMessage, isTextParts, textOf } from './chat-message.ts';
import type { TemplateTraits } from './template-traits.ts';

/** Roles that every conversation may have. */
const COMMON_ROLES = ['system', 'user', 'assistant'];
/** Roles of results. A template that never names them may still write every message alike. */
const RESULT_ROLES = ['tool', 'function'];

/** Messages in the form that a template takes, and which of them it might drop silently. */
export interface PreparedMessages {
  readonly messages: readonly ChatMessage[];
  /** Positions of messages whose presence in the text must be checked. */
  readonly uncertain: readonly number[];
}

/**
 * Messages in the forms that a template takes: the role developer becomes system if it does not know it, parts are
 * joined if it does not handle parts, and arguments of calls that are JSON become mappings if it writes mappings.
 * @throws ChatTemplateError about a role that the template does not know.
 */
export function prepareMessages(messages: readonly ChatMessage[], traits: TemplateTraits): PreparedMessages {
  const uncertain: number[] = [];
  const prepared = messages.map((message, i) => {
    const role = roleOf(message, i, traits);
    if (role !== message.role || (RESULT_ROLES.includes(role) && !traits.mentions(role))) uncertain.push(i);
    const content = contentOf(message.content, role, traits);
    const calls = callsOf(message.tool_calls, traits);
    const isSame = role === message.role && content === message.content && calls === message.tool_calls;
    return isSame ? message : { ...message, role, content, ...(calls !== undefined && { tool_calls: calls }) };
  });
  return { messages: prepared, uncertain };
}

function roleOf(message: ChatMessage, index: number, traits: TemplateTraits): string {
  const role: unknown = message?.role;
  if (typeof role === 'string') {
    if (COMMON_ROLES.includes(role) || traits.mentions(role)) return role;
    if (role === 'developer') return 'system';
    if (RESULT_ROLES.includes(role)) return role;
  }
  const more = [...RESULT_ROLES, 'developer'].filter((each) => traits.mentions(each));
  const known = [...COMMON_ROLES, ...more].map((each) => `'${each}'`).join(', ');
  const shown = typeof role === 'string' ? `'${role.slice(0, 80)}'` : String(role);
  throw new ChatTemplateError(
    `Message ${index + 1} has the role ${shown}, which the chat template does not know.`,
    `Use one of ${known}, or another that the template names.`,
  );
}

function contentOf(content: ChatMessage['content'], role: string, traits: TemplateTraits): ChatMessage['content'] {
  if (isTextParts(content)) return traits.takesParts(role) ? content : (textOf(content) ?? '');
  if (typeof content === 'string' && traits.needsParts(role)) return [{ type: 'text', text: content }];
  return content;
}

/** Calls with their arguments as mappings, which keep the order of keys in the JSON. */
function callsOf(calls: unknown, traits: TemplateTraits): unknown {
  if (!Array.isArray(calls) || !calls.some(hasJsonArguments) || !traits.takesArgumentMappings) return calls;
  return calls.map((call) => {
    if (!hasJsonArguments(call)) return call;
    const value = fromJson(call.function.arguments);
    return value instanceof Dict ? { ...call, function: { ...call.function, arguments: value } } : call;
  });
}

interface JsonCall {
  readonly function: { readonly arguments: string };
}

function hasJsonArguments(call: unknown): call is JsonCall {
  const called = (call as Partial<JsonCall> | null | undefined)?.function;
  return typeof called === 'object' && called !== null && typeof called.arguments === 'string';
}
