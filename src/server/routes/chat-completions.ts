import type { Context } from 'hono';
import { AnswerReader, type ChatFinishReason, mergedDeltas } from '../../engine/chat/answer-reader.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import type { AnswerDelta } from '../../text/parsers/answer-delta.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { ParsedAnswer } from '../../text/parsers/parsed-answer.ts';
import { TokenTexts } from '../../text/token-texts.ts';
import { type AnswerHead, answer } from '../answer/answer.ts';
import { ChunkWriter, type UsageField } from '../answer/chunk-writer.ts';
import { type CollectedAnswer, CollectedAnswers } from '../answer/collected-answer.ts';
import { askedAnswer } from '../answer/conversation.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { JsonList, type Written } from '../answer/json-pieces.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import { templateMessages } from '../wire/chat-message.ts';
import { type ChatRequest, likeliestCount } from '../wire/chat-request.ts';
import {
  type ChatChunk,
  type ChatChunkChoice,
  type ChatResponse,
  type ChatResponseMessage,
  type ChatTokenLogprobs,
  chatDelta,
  chatLogprobs,
  eachLogprobs,
  reasoningFields,
} from '../wire/chat-response.ts';
import { toTemplateInputs } from '../wire/chat-template-fields.ts';
import { choiceEnd } from '../wire/choice-end.ts';
import { badRequest } from '../wire/http-error.ts';
import { assertWhole, type PromptLogprobsField, promptLogprobsField } from '../wire/prompt-logprobs.ts';
import { toGenerateOptions } from '../wire/sampling-fields.ts';
import type { Usage } from '../wire/usage.ts';

/** `POST /v1/chat/completions` */
export function chatCompletions(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'chat');
    model.assertName(body.model);
    const logprobs = likeliestCount(body);
    assertWhole(body);
    const maxTokens = body.max_completion_tokens ?? body.max_tokens;
    // In a completion 0 means to evaluate the prompt only; a message needs a token.
    if (maxTokens === 0)
      throw badRequest('max_tokens is 0; expected an integer at least 1.', 'max_tokens', 'invalid_value');
    const asked = { ...toGenerateOptions(body), logprobs };
    const conversation = {
      messages: templateMessages(body.messages),
      inputs: toTemplateInputs(body),
      chatTemplate: body.chat_template,
      options: { ...asked, promptLogprobs: body.prompt_logprobs },
      truncation: { tokens: body.truncate_prompt_tokens, answerTokens: maxTokens },
    };
    const { prompt, form, options } = await askedAnswer(model, conversation, c.req.raw.signal);
    const { skipSpecialTokens } = options;
    const writer = new ChatWriter(model, body, { prompt, form, skipSpecialTokens });
    const isStream = body.stream ?? false;
    return answer(c, model, { idPrefix: 'chatcmpl-', prompts: [prompt], options, maxTokens, isStream }, writer);
  };
}

/** Prompt of an answer, and how it is read. */
interface AskedChat {
  readonly prompt: readonly number[];
  readonly form: AnswerForm;
  readonly skipSpecialTokens: boolean | undefined;
}

/** Writes outputs as messages, or as parts of them. */
class ChatWriter extends ChunkWriter {
  readonly #model: ServedModel;
  readonly #body: ChatRequest;
  readonly #asked: AskedChat;
  readonly #readers = new Map<number, AnswerReader>();
  readonly #parsed = new Map<number, ParsedAnswer>();
  readonly #texts = new Map<number, TokenTexts>();
  readonly #collected: CollectedAnswers;
  #promptLogprobs: GenerationOutput['promptLogprobs'];

  constructor(model: ServedModel, body: ChatRequest, asked: AskedChat) {
    super(body);
    this.#model = model;
    this.#body = body;
    this.#asked = asked;
    const { logprobs, top_logprobs: topLogprobs = 0, return_token_ids: givesIds } = body;
    this.#collected = new CollectedAnswers(logprobs ? topLogprobs : givesIds ? 0 : undefined);
  }

  *chunks({ outputs }: GenerationOutput, head: AnswerHead, usage: UsageField): Iterable<ChatChunk> {
    for (const output of outputs) {
      const isFirst = !this.#readers.has(output.index);
      const { deltas, finishReason } = this.#read(output);
      const delta = chatDelta(mergedDeltas(deltas));
      // A token may be part of a character only.
      const isEmpty = Object.keys(delta).length === 0;
      if (!isFirst && isEmpty && finishReason === null && !this.#givesTokens) continue;
      const begin = isFirst ? { role: 'assistant' as const, content: '' } : isEmpty ? { content: '' } : {};
      const prompt = isFirst && this.#body.return_token_ids ? { prompt_token_ids: this.#asked.prompt } : {};
      const choice = { ...this.#end(output), finish_reason: finishReason, delta: { ...begin, ...delta } };
      yield { ...this.#chunk(head, [choice], this.#withReasoning(usage)), ...prompt };
    }
  }

  usageChunk(head: AnswerHead, usage: Usage): ChatChunk {
    return this.#chunk(head, [], this.#withReasoning({ usage }));
  }

  add({ outputs, promptLogprobs }: GenerationOutput): void {
    this.#promptLogprobs ??= promptLogprobs;
    for (const output of outputs) {
      const { deltas } = this.#read(output);
      const parsed = this.#parsed.get(output.index) ?? new ParsedAnswer();
      this.#parsed.set(output.index, parsed);
      parsed.add(deltas);
      this.#collected.add(output.index, { ...output, text: '' });
    }
  }

  whole({ id, created, model }: AnswerHead, usage: Usage): Written<ChatResponse> {
    const { logprobs, return_token_ids: givesIds, prompt_logprobs: count } = this.#body;
    return {
      id,
      object: 'chat.completion',
      created,
      model,
      choices: this.#collected.sorted().map(([index, answer]) => ({
        index,
        logprobs: logprobs ? { content: new JsonList(() => this.#writtenLogprobs(answer)), refusal: null } : null,
        ...answer.end(givesIds),
        finish_reason: this.#readers.get(index)?.finishReason ?? answer.finishReason,
        message: this.#message(index),
      })),
      usage: this.#withReasoning({ usage }).usage,
      ...(givesIds && { prompt_token_ids: this.#asked.prompt }),
      ...(count !== undefined && { prompt_logprobs: new JsonList(() => this.#writtenPromptLogprobs(count)) }),
    };
  }

  #message(index: number): ChatResponseMessage {
    const { text = '', reasoning, toolCalls = [] } = this.#parsed.get(index) ?? {};
    return {
      role: 'assistant',
      content: text === '' && (reasoning !== undefined || toolCalls.length > 0) ? null : text,
      refusal: null,
      ...(this.#body.include_reasoning !== false && reasoningFields(reasoning)),
      ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
    };
  }

  /** The parts that an output adds to its answer. */
  #read({ index, tokens, finishReason }: CompletionOutput): {
    readonly deltas: readonly AnswerDelta[];
    readonly finishReason: ChatFinishReason | null;
  } {
    const reader = this.#readers.get(index) ?? new AnswerReader(this.#asked.form);
    this.#readers.set(index, reader);
    const deltas = reader.push(tokens, finishReason);
    const isShown = (delta: AnswerDelta) => delta.type !== 'reasoning' || this.#body.include_reasoning !== false;
    return { deltas: deltas.filter(isShown), finishReason: reader.finishReason };
  }

  /** Usage with the tokens of thoughts. */
  #withReasoning<T extends UsageField>(given: T): T {
    if (!given.usage || !this.#asked.form.reasoning) return given;
    const tokens = [...this.#readers.values()].reduce((sum, { reasoningTokens }) => sum + reasoningTokens, 0);
    const details = { ...given.usage.completion_tokens_details, reasoning_tokens: tokens };
    return { ...given, usage: { ...given.usage, completion_tokens_details: details } };
  }

  #writtenLogprobs({ tokens }: CollectedAnswer): Iterable<ChatTokenLogprobs> {
    return tokens ? eachLogprobs(tokens, this.#newTexts()) : [];
  }

  #writtenPromptLogprobs(count: number): Iterable<PromptLogprobsField[number]> {
    return promptLogprobsField(this.#promptLogprobs ?? [], count, this.#model.llm.tokenizer);
  }

  /** Whether events have more fields than the text. */
  get #givesTokens(): boolean {
    const { logprobs, return_token_ids: tokenIds, half_life_interval: interval } = this.#body;
    return logprobs === true || tokenIds === true || interval !== undefined;
  }

  #chunk({ id, created, model }: AnswerHead, choices: readonly ChatChunkChoice[], usage: UsageField): ChatChunk {
    return { id, object: 'chat.completion.chunk', created, model, choices, ...usage };
  }

  #end(output: CompletionOutput): Omit<ChatChunkChoice, 'delta' | 'finish_reason'> {
    const { index, tokens, finishReason } = output;
    return {
      index,
      logprobs: this.#body.logprobs ? chatLogprobs(tokens, this.#textsOf(index), finishReason !== null) : null,
      ...choiceEnd(output, this.#body.return_token_ids),
    };
  }

  /** Texts of an answer's tokens, after those that were written before. */
  #textsOf(index: number): TokenTexts {
    const known = this.#texts.get(index) ?? this.#newTexts();
    this.#texts.set(index, known);
    return known;
  }

  #newTexts(): TokenTexts {
    const { prompt, skipSpecialTokens } = this.#asked;
    const options = { prompt, skipSpecialTokens };
    return new TokenTexts(this.#model.llm.tokenizer, options);
  }
}
