import type { ChatTokenLogprobs } from '../wire/chat-response.ts';
import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import type { ResponseRequest } from './wire/response-request.ts';

/** Whether an item, or a response, has come to its end. */
export type ResponseStatus = 'in_progress' | 'completed' | 'incomplete' | 'failed';

export interface OutputText {
  readonly type: 'output_text';
  readonly text: string;
  readonly annotations: readonly [];
  readonly logprobs: readonly ChatTokenLogprobs[];
}

interface Item {
  readonly id: string;
  readonly status: ResponseStatus;
}

export interface MessageItem extends Item {
  readonly type: 'message';
  readonly role: 'assistant';
  readonly content: readonly OutputText[];
}

export interface ReasoningText {
  readonly type: 'reasoning_text';
  readonly text: string;
}

export interface SummaryText {
  readonly type: 'summary_text';
  readonly text: string;
}

export interface ReasoningItem extends Item {
  readonly type: 'reasoning';
  readonly summary: readonly SummaryText[];
  readonly content?: readonly ReasoningText[];
}

export interface FunctionCallItem extends Item {
  readonly type: 'function_call';
  readonly call_id: string;
  readonly name: string;
  readonly arguments: string;
}

export type OutputItem = MessageItem | ReasoningItem | FunctionCallItem;

/** Tokens of a response. */
export interface ResponseUsage {
  readonly input_tokens: number;
  readonly input_tokens_details: { readonly cached_tokens: number; readonly cache_write_tokens: number };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly reasoning_tokens: number };
  readonly total_tokens: number;
}

/** Fields of a response that change while it grows. */
export interface ResponseState {
  readonly status: ResponseStatus;
  /** Items, whose logprobs may be made when they are written. */
  readonly output: readonly object[];
  readonly usage?: ResponseUsage;
  readonly error?: HttpError;
}

/** A response, as it stands. */
export function responseObject(
  { id, created, model }: { readonly id: string; readonly created: number; readonly model: string },
  body: ResponseRequest,
  { status, output, usage, error }: ResponseState,
) {
  return {
    id,
    object: 'response' as const,
    created_at: created,
    status,
    completed_at: status === 'completed' ? Math.floor(Date.now() / 1000) : null,
    error: error === undefined ? null : { code: errorCode(error), message: error.message },
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' as const } : null,
    model,
    output,
    usage: usage ?? null,
    background: false,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
    service_tier: 'default' as const,
    store: false,
    temperature: body.temperature ?? null,
    text: { format: { type: 'text' }, ...body.text },
    tool_choice: body.tool_choice ?? 'auto',
    tools: body.tools ?? [],
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? null,
    truncation: body.truncation ?? 'disabled',
  };
}

export function responseUsage(usage: Usage, reasoningTokens: number): ResponseUsage {
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: { cached_tokens: usage.prompt_tokens_details.cached_tokens, cache_write_tokens: 0 },
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: usage.total_tokens,
  };
}

/** The code, among those that OpenAI has for responses. */
function errorCode({ status }: HttpError): string {
  if (status === 429) return 'rate_limit_exceeded';
  return status >= 500 ? 'server_error' : 'invalid_prompt';
}
