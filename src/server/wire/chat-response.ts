import type { ChatFinishReason, MergedDeltas } from '../../engine/chat/answer-reader.ts';
import type { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { OutputToken } from '../../engine/request/request-output.ts';
import type { ToolCall } from '../../text/parsers/answer-delta.ts';
import type { TokenTexts, WrittenToken } from '../../text/token-texts.ts';
import type { ChoiceEnd } from './choice-end.ts';
import type { PromptLogprobsField } from './prompt-logprobs.ts';
import type { Usage } from './usage.ts';

/** Token of an answer with its logprob. */
export interface ChatTokenLogprob {
  readonly token: string;
  readonly logprob: number;
  /** Bytes of the token, which may be only part of a character. */
  readonly bytes: readonly number[];
}

/** A token and the likeliest in its place. */
export interface ChatTokenLogprobs extends ChatTokenLogprob {
  readonly top_logprobs: readonly ChatTokenLogprob[];
}

export interface ChatLogprobs {
  readonly content: readonly ChatTokenLogprobs[];
  readonly refusal: null;
}

/** Fields that a message and a delta have in common. */
interface ChatChoiceEnd extends Omit<ChoiceEnd, 'finish_reason'> {
  readonly index: number;
  readonly finish_reason: ChatFinishReason | null;
  readonly logprobs: ChatLogprobs | null;
}

/** Thoughts. Clients read one name or the other. */
interface ReasoningFields {
  readonly reasoning?: string;
  readonly reasoning_content?: string;
}

export interface ChatResponseMessage extends ReasoningFields {
  readonly role: 'assistant';
  /** Null where there are only thoughts or calls. */
  readonly content: string | null;
  readonly refusal: null;
  readonly tool_calls?: readonly ToolCall[];
}

export interface ChatChoice extends ChatChoiceEnd {
  readonly message: ChatResponseMessage;
}

/** News of a call: its id and name first, then parts of its arguments. */
export interface ToolCallChunk {
  readonly index: number;
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name?: string; readonly arguments: string };
}

export interface ChatDelta extends ReasoningFields {
  readonly role?: 'assistant';
  readonly content?: string;
  readonly tool_calls?: readonly ToolCallChunk[];
}

export interface ChatChunkChoice extends ChatChoiceEnd {
  readonly delta: ChatDelta;
}

export function reasoningFields(reasoning: string | undefined): ReasoningFields {
  return reasoning === undefined ? {} : { reasoning, reasoning_content: reasoning };
}

/** The parts of an answer as a delta. */
export function chatDelta({ text, reasoning, toolCalls = [] }: MergedDeltas): ChatDelta {
  const calls = toolCalls.flatMap(({ index, id, name, arguments: json = '' }): ToolCallChunk[] => {
    if (id !== undefined) return [{ index, id, type: 'function', function: { name: name ?? '', arguments: json } }];
    // A call that has turned out to be malformed can't be taken back.
    return json === '' ? [] : [{ index, function: { arguments: json } }];
  });
  return {
    ...(text !== '' && { content: text }),
    ...reasoningFields(reasoning),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

interface Envelope {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  /** Field of vLLM, present with `return_token_ids`. */
  readonly prompt_token_ids?: readonly number[];
}

/** An answer of /v1/chat/completions. */
export interface ChatResponse extends Envelope {
  readonly object: 'chat.completion';
  readonly choices: readonly ChatChoice[];
  readonly usage: Usage;
  /** Field of vLLM, present with `prompt_logprobs`. */
  readonly prompt_logprobs?: PromptLogprobsField;
}

/** An event of the stream of /v1/chat/completions. */
export interface ChatChunk extends Envelope {
  readonly object: 'chat.completion.chunk';
  readonly choices: readonly ChatChunkChoice[];
  /** Token counts; absent, or with `include_usage` null until the last event. */
  readonly usage?: Usage | null;
}

/** @param isEnd no further tokens follow */
export function chatLogprobs(
  tokens: readonly Omit<OutputToken, 'text'>[],
  texts: TokenTexts,
  isEnd: boolean,
): ChatLogprobs {
  const content = tokens.map(({ tokenId: id, logprob, topLogprobs = [] }, i) => {
    const others = topLogprobs.map(({ tokenId }) => tokenId);
    const place = texts.next({ id, others, isLast: isEnd && i === tokens.length - 1 });
    const top_logprobs = place.others.map((other, n) => wire(other, topLogprobs[n].logprob));
    return { ...wire(place, logprob), top_logprobs };
  });
  return { content, refusal: null };
}

/** The logprobs of a whole answer's tokens, each made when it is asked for. */
export function* eachLogprobs(tokens: LogprobColumns, texts: TokenTexts): Generator<ChatTokenLogprobs, void> {
  let left = tokens.length;
  for (const token of tokens) yield* chatLogprobs([token], texts, --left === 0).content;
}

function wire({ token, bytes }: WrittenToken, logprob: number): ChatTokenLogprob {
  return { token, logprob, bytes };
}
