import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { Conversation } from '../answer/conversation.ts';
import { type ChatRequestMessage, templateMessages } from '../wire/chat-message.ts';
import { likeliestCount } from '../wire/chat-request.ts';
import { templateKwargs } from '../wire/chat-template-fields.ts';
import { badRequest } from '../wire/http-error.ts';
import type { OllamaAnswerRequest, OllamaChatRequest, OllamaGenerateRequest } from './wire/requests.ts';

/** A request of `/api/chat` as a conversation. @throws HttpError 400 */
export function chatConversation(body: OllamaChatRequest): Conversation {
  const { messages = [], tools } = body;
  const last = messages.at(-1);
  // As with Ollama, an answer that has begun is continued.
  const continueFinalMessage = last?.role === 'assistant' && !last.tool_calls && (last.content ?? '') !== '';
  return { ...conversation(body, messages.map(toMessage)), inputs: { ...inputs(body), tools, continueFinalMessage } };
}

/** A prompt of `/api/generate` as a conversation. @throws HttpError 400 */
export function promptConversation(body: OllamaGenerateRequest): Conversation {
  const { system, prompt = '' } = body;
  const instructions: ChatRequestMessage[] = system === undefined ? [] : [{ role: 'system', content: system }];
  return conversation(body, [...instructions, { role: 'user', content: prompt }]);
}

function conversation(body: OllamaAnswerRequest, messages: readonly ChatRequestMessage[]): Conversation {
  return { messages: templateMessages(messages), inputs: inputs(body), options: toOptions(body) };
}

function toMessage(message: NonNullable<OllamaChatRequest['messages']>[number]): ChatRequestMessage {
  const { role, content, thinking, tool_calls, tool_name: name, tool_call_id } = message;
  return {
    role,
    content: content ?? '',
    ...(thinking !== undefined && { reasoning_content: thinking }),
    ...(tool_calls !== undefined && { tool_calls }),
    ...(name !== undefined && { name }),
    ...(tool_call_id !== undefined && { tool_call_id }),
  };
}

function inputs({ think }: OllamaAnswerRequest): Conversation['inputs'] {
  const kwargs =
    typeof think === 'string' ? { enable_thinking: true, reasoning_effort: think } : { enable_thinking: think };
  return { chatTemplateKwargs: templateKwargs(kwargs) };
}

/** The parameters of a request. @throws HttpError 400 */
export function toOptions(body: OllamaAnswerRequest): GenerateOptions {
  const { options = {}, format } = body;
  const { repeat_penalty: penalty, repeat_last_n: last } = options;
  if (last !== undefined && last !== -1 && penalty !== undefined && penalty !== 1) {
    const message = `options.repeat_last_n is ${last}; expected -1: a penalty looks at all tokens.`;
    throw badRequest(message, 'options.repeat_last_n', 'unsupported_parameter');
  }
  return {
    temperature: options.temperature,
    topK: options.top_k,
    topP: options.top_p,
    minP: options.min_p,
    seed: options.seed,
    stop: options.stop,
    repetitionPenalty: penalty,
    presencePenalty: options.presence_penalty,
    frequencyPenalty: options.frequency_penalty,
    structuredOutputs: toForm(format),
    logprobs: likeliestCount(body),
  };
}

function toForm(format: OllamaAnswerRequest['format']): StructuredOutputs | undefined {
  if (format === undefined || format === '') return undefined;
  return format === 'json' ? { jsonObject: true } : { json: format };
}
