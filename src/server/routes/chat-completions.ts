import type { Context } from 'hono';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import { TokenTexts } from '../../text/token-texts.ts';
import { type AnswerHead, type AnswerWriter, answer } from '../answer/answer.ts';
import { type CollectedAnswer, CollectedAnswers } from '../answer/collected-answer.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { JsonList, type Written } from '../answer/json-pieces.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import { templateMessages } from '../wire/chat-message.ts';
import type { ChatRequest } from '../wire/chat-request.ts';
import {
  type ChatChunk,
  type ChatChunkChoice,
  type ChatResponse,
  type ChatTokenLogprobs,
  chatLogprobs,
} from '../wire/chat-response.ts';
import { choiceEnd } from '../wire/choice-end.ts';
import { badRequest } from '../wire/http-error.ts';
import { toGenerateOptions } from '../wire/sampling-fields.ts';
import type { Usage } from '../wire/usage.ts';

/** `POST /v1/chat/completions` */
export function chatCompletions(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'chat');
    model.assertName(body.model);
    if (body.top_logprobs && !body.logprobs) {
      throw badRequest("'top_logprobs' needs 'logprobs': true.", 'top_logprobs', 'invalid_value');
    }
    const maxTokens = body.max_completion_tokens ?? body.max_tokens;
    // In a completion 0 means to evaluate the prompt only; a message needs a token.
    if (maxTokens === 0)
      throw badRequest('max_tokens is 0; expected an integer at least 1.', 'max_tokens', 'invalid_value');
    const prompt = await model.encodeChat(templateMessages(body.messages), c.req.raw.signal);
    const options = { ...toGenerateOptions(body), logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined };
    const request = { idPrefix: 'chatcmpl', prompts: [prompt], options, maxTokens, fields: body };
    return answer(c, model, request, new ChatWriter(model, body, prompt));
  };
}

/** Writes outputs as messages, or as parts of them. */
class ChatWriter implements AnswerWriter {
  readonly #model: ServedModel;
  readonly #body: ChatRequest;
  readonly #prompt: readonly number[];
  readonly #begun = new Set<number>();
  readonly #texts = new Map<number, TokenTexts>();
  readonly #collected: CollectedAnswers;

  constructor(model: ServedModel, body: ChatRequest, prompt: readonly number[]) {
    this.#model = model;
    this.#body = body;
    this.#prompt = prompt;
    const { logprobs, top_logprobs: topLogprobs = 0, return_token_ids: givesIds } = body;
    this.#collected = new CollectedAnswers(logprobs ? topLogprobs : givesIds ? 0 : undefined);
  }

  *chunks(
    { outputs }: GenerationOutput,
    head: AnswerHead,
    usage: { readonly usage?: Usage | null },
  ): Iterable<ChatChunk> {
    for (const output of outputs) {
      const { index, text } = output;
      const isFirst = !this.#begun.has(index);
      this.#begun.add(index);
      // A token may be part of a character only.
      if (!isFirst && text === '' && output.finishReason === null && !this.#givesTokens) continue;
      const delta = isFirst ? { role: 'assistant' as const, content: text } : { content: text };
      const prompt = isFirst && this.#body.return_token_ids ? { prompt_token_ids: this.#prompt } : {};
      yield { ...this.#chunk(head, [{ ...this.#end(output), delta }], usage), ...prompt };
    }
  }

  usageChunk(head: AnswerHead, usage: Usage): ChatChunk {
    return this.#chunk(head, [], { usage });
  }

  add({ outputs }: GenerationOutput): void {
    for (const output of outputs) this.#collected.add(output.index, output);
  }

  whole({ id, created, model }: AnswerHead, usage: Usage): Written<ChatResponse> {
    const { logprobs, return_token_ids: givesIds } = this.#body;
    return {
      id,
      object: 'chat.completion',
      created,
      model,
      choices: this.#collected.sorted().map(([index, answer]) => ({
        index,
        logprobs: logprobs ? { content: new JsonList(() => this.#writtenLogprobs(answer)), refusal: null } : null,
        ...answer.end(givesIds),
        message: { role: 'assistant', content: answer.text, refusal: null },
      })),
      usage,
      ...(givesIds && { prompt_token_ids: this.#prompt }),
    };
  }

  *#writtenLogprobs({ tokens }: CollectedAnswer): Generator<ChatTokenLogprobs, void> {
    const texts = this.#newTexts();
    let left = tokens?.length ?? 0;
    for (const token of tokens ?? []) yield* chatLogprobs([token], texts, --left === 0).content;
  }

  /** Whether events have more fields than the text. */
  get #givesTokens(): boolean {
    const { logprobs, return_token_ids: tokenIds, half_life_interval: interval } = this.#body;
    return logprobs === true || tokenIds === true || interval !== undefined;
  }

  #chunk(
    { id, created, model }: AnswerHead,
    choices: readonly ChatChunkChoice[],
    usage: { readonly usage?: Usage | null },
  ): ChatChunk {
    return { id, object: 'chat.completion.chunk', created, model, choices, ...usage };
  }

  #end(output: CompletionOutput): Omit<ChatChunkChoice, 'delta'> {
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
    const options = { prompt: this.#prompt, skipSpecialTokens: this.#body.skip_special_tokens };
    return new TokenTexts(this.#model.llm.tokenizer, options);
  }
}
