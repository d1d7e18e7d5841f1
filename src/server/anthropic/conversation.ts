import type { JsonObject } from '../../checkpoint/json/json.ts';
import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';
import type { Conversation } from '../answer/conversation.ts';
import { type ChatRequestMessage, templateMessages } from '../wire/chat-message.ts';
import { templateKwargs } from '../wire/chat-template-fields.ts';
import { badRequest } from '../wire/http-error.ts';
import type { ContentBlockParam, CountTokensRequest, MessagesRequest } from './wire/messages-request.ts';

/** A request as a conversation. @throws HttpError 400 about blocks that its messages can't have */
export function toConversation(body: MessagesRequest): Conversation {
  return { ...toPrompt(body), options: toOptions(body) };
}

/** The part of a request that makes its prompt. @throws HttpError 400 about blocks that its messages can't have */
export function toPrompt(body: CountTokensRequest): {
  readonly messages: readonly ChatMessage[];
  readonly inputs: ChatTemplateInputs;
} {
  const { system, thread } = body;
  if (thread !== undefined) {
    // The code with which the official client falls back to sending whole conversations.
    throw badRequest("'thread' is not supported. Send the whole conversation.", 'thread', 'thread_unsupported_request');
  }
  const instructions: ChatRequestMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];
  const turns = joinedTurns(body.messages);
  const messages = templateMessages([...instructions, ...turns.flatMap(toMessages)]);
  const last = turns.at(-1);
  return { messages, inputs: { ...toInputs(body), continueFinalMessage: last && continues(last) } };
}

/** Messages of one role in a row, which count as one turn. */
interface Turn {
  readonly role: CountTokensRequest['messages'][number]['role'];
  readonly blocks: ContentBlockParam[];
  /** Place of the first message, for errors. */
  readonly path: string;
}

function joinedTurns(messages: CountTokensRequest['messages']): readonly Turn[] {
  const turns: Turn[] = [];
  for (const [i, { role, content }] of messages.entries()) {
    const blocks: readonly ContentBlockParam[] =
      typeof content === 'string' ? [{ type: 'text', text: content }] : content;
    const last = turns.at(-1);
    if (last?.role === role) last.blocks.push(...blocks);
    else turns.push({ role, blocks: [...blocks], path: `messages.${i}` });
  }
  return turns;
}

function toMessages({ role, blocks, path }: Turn): readonly ChatRequestMessage[] {
  return role === 'assistant' ? [toAnswer(blocks, path)] : toQuestions(role, blocks, path);
}

/** An earlier answer: its thoughts, text and calls. Thoughts that the client has not seen are left out. */
function toAnswer(blocks: readonly ContentBlockParam[], path: string): ChatRequestMessage {
  const texts: TextPart[] = [];
  const thoughts: string[] = [];
  const calls: NonNullable<ChatRequestMessage['tool_calls']> = [];
  for (const block of blocks) {
    if (block.type === 'text') texts.push({ type: 'text', text: block.text });
    if (block.type === 'thinking' && block.thinking !== undefined) thoughts.push(block.thinking);
    if (block.type === 'tool_use') calls.push({ id: block.id, function: { name: block.name, arguments: block.input } });
    if (block.type === 'tool_result') throw misplaced('tool_result', 'user', path);
  }
  return {
    role: 'assistant',
    content: texts,
    ...(thoughts.length > 0 && { reasoning_content: thoughts.join('\n') }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

/** Texts and the results of calls, in their order. */
function toQuestions(role: string, blocks: readonly ContentBlockParam[], path: string): readonly ChatRequestMessage[] {
  const messages: ChatRequestMessage[] = [];
  let texts: TextPart[] | undefined;
  for (const block of blocks) {
    if (block.type === 'text') {
      if (texts === undefined) {
        texts = [];
        messages.push({ role, content: texts });
      }
      texts.push({ type: 'text', text: block.text });
    } else if (block.type === 'tool_result') {
      texts = undefined;
      messages.push({ role: 'tool', tool_call_id: block.tool_use_id, content: block.content ?? '' });
    } else {
      throw misplaced(block.type, 'assistant', path);
    }
  }
  return messages.length > 0 ? messages : [{ role, content: '' }];
}

interface TextPart {
  readonly type: 'text';
  readonly text: string;
}

function misplaced(type: string, role: string, path: string) {
  return badRequest(`${path}.content: blocks of the type '${type}' belong to the role ${role}.`, `${path}.content`);
}

/** Whether the answer continues a turn that an assistant has begun. @throws HttpError 400 */
function continues({ role, blocks, path }: Turn): boolean {
  if (role !== 'assistant') return false;
  if (blocks.some(({ type }) => type === 'tool_use')) {
    throw badRequest(`${path}: calls are at the end; give their results in a message of the user.`, path);
  }
  return true;
}

function toInputs(body: CountTokensRequest): ChatTemplateInputs {
  const { tools, tool_choice: choice, thinking, output_config: output } = body;
  return {
    tools: tools?.map(toTool),
    toolChoice: choice && toToolChoice(choice),
    parallelToolCalls: choice?.disable_parallel_tool_use ? false : undefined,
    thinkingTokenBudget: thinking?.type === 'enabled' ? thinking.budget_tokens : undefined,
    chatTemplateKwargs: templateKwargs({
      enable_thinking: thinking && thinking.type !== 'disabled',
      reasoning_effort: output?.effort ?? undefined,
    }),
  };
}

function toTool(tool: NonNullable<CountTokensRequest['tools']>[number]): Tool {
  const { name, description, input_schema: parameters, strict } = tool;
  return {
    type: 'function',
    function: {
      name,
      ...(description && { description }),
      parameters,
      ...(strict !== undefined && strict !== null && { strict }),
    },
  };
}

function toToolChoice(choice: NonNullable<CountTokensRequest['tool_choice']>): ToolChoice {
  if (choice.type === 'tool') return { type: 'function', function: { name: choice.name } };
  return choice.type === 'any' ? 'required' : choice.type;
}

function toOptions(body: MessagesRequest): GenerateOptions {
  const schema: JsonObject | undefined = (body.output_config?.format ?? body.output_format)?.schema;
  return {
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k,
    stop: body.stop_sequences,
    structuredOutputs: schema && { json: schema },
  };
}
