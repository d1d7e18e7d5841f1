import type { Context } from 'hono';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import { isShownIn, TokenTexts } from '../../text/token-texts.ts';
import { type AnswerHead, answer } from '../answer/answer.ts';
import { ChunkWriter, type UsageField } from '../answer/chunk-writer.ts';
import { type CollectedAnswer, CollectedAnswers } from '../answer/collected-answer.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { JsonList, type Written } from '../answer/json-pieces.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import { choiceEnd } from '../wire/choice-end.ts';
import {
  type CompletionLogprobs,
  CompletionLogprobsWriter,
  type LoggedToken,
} from '../wire/completions/completion-logprobs.ts';
import type { CompletionRequest } from '../wire/completions/completion-request.ts';
import type { CompletionResponse, CompletionResponseChoice } from '../wire/completions/completion-response.ts';
import { promptList } from '../wire/prompt-field.ts';
import { assertWhole, mostOf, type PromptLogprobsField, promptLogprobsField } from '../wire/prompt-logprobs.ts';
import { toGenerateOptions } from '../wire/sampling-fields.ts';
import type { Usage } from '../wire/usage.ts';

/** Default for the tokens to generate, which is OpenAI's. */
const DEFAULT_MAX_TOKENS = 16;

/** Limit for the tokens with logprobs of one event: writing an event blocks the thread. */
const EVENT_TOKENS = 64;

/** `POST /v1/completions` */
export function completions(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'completion');
    model.assertName(body.model);
    assertWhole(body);
    const sources = promptList(body.prompt);
    const maxTokens = body.max_tokens ?? DEFAULT_MAX_TOKENS;
    const truncation = { tokens: body.truncate_prompt_tokens, answerTokens: maxTokens };
    const encoding = { addSpecialTokens: body.add_special_tokens ?? true, truncation };
    const prompts: (readonly number[])[] = [];
    for (const source of sources) {
      // Other requests get a turn of the event loop between two prompts: token ids are checked on this thread.
      if (prompts.length > 0) await yieldToEventLoop();
      prompts.push(await model.encode(source, encoding, c.req.raw.signal));
    }
    const options = { ...toGenerateOptions(body), logprobs: body.logprobs };
    const promptLogprobs = mostOf(body.echo ? body.logprobs : undefined, body.prompt_logprobs);
    // A prompt that was truncated is no longer its text.
    const isText = body.truncate_prompt_tokens === undefined;
    const texts = sources.map((source) => (isText && typeof source === 'string' ? source : undefined));
    const writer = new CompletionWriter(model, body, texts, prompts);
    const request = { idPrefix: 'cmpl-', prompts, options: { ...options, promptLogprobs }, maxTokens };
    return answer(c, model, { ...request, isStream: body.stream ?? false }, writer);
  };
}

/** Writes outputs as choices, ordered by prompt and then by answer. */
class CompletionWriter extends ChunkWriter {
  readonly #model: ServedModel;
  readonly #body: CompletionRequest;
  /** Texts of the prompts that came as text. */
  readonly #texts: readonly (string | undefined)[];
  readonly #prompts: readonly (readonly number[])[];
  readonly #promptLogprobs = new Map<number, GenerationOutput['promptLogprobs']>();
  readonly #logprobs = new Map<number, CompletionLogprobsWriter>();
  readonly #collected: CollectedAnswers;
  /** Text of the last prompt that came as token ids. The answers to a prompt are written one after the other. */
  #lastText: { readonly promptIndex: number; readonly text: string } | undefined;

  constructor(
    model: ServedModel,
    body: CompletionRequest,
    texts: readonly (string | undefined)[],
    prompts: readonly (readonly number[])[],
  ) {
    super(body);
    this.#model = model;
    this.#body = body;
    this.#texts = texts;
    this.#prompts = prompts;
    this.#collected = new CollectedAnswers(body.logprobs ?? (body.return_token_ids ? 0 : undefined));
  }

  *chunks(output: GenerationOutput, head: AnswerHead, usage: UsageField): Iterable<object> {
    const { promptIndex, promptLogprobs, outputs } = output;
    if (promptLogprobs) this.#promptLogprobs.set(promptIndex, promptLogprobs);
    for (const each of outputs) {
      for (const choice of this.#choices(promptIndex, each)) yield response(head, [choice], usage);
    }
  }

  usageChunk(head: AnswerHead, usage: Usage): CompletionResponse {
    return response(head, [], { usage });
  }

  add({ promptIndex, promptLogprobs, outputs }: GenerationOutput): void {
    if (promptLogprobs) this.#promptLogprobs.set(promptIndex, promptLogprobs);
    for (const output of outputs) this.#collected.add(this.#indexOf(promptIndex, output.index), output);
  }

  whole(head: AnswerHead, usage: Usage): Written<CompletionResponse> {
    return { ...response(head, [], { usage }), choices: new JsonList(() => this.#wholeChoices()) };
  }

  /** Choices, each made after the one before it was written, because an echo and an answer may be long. */
  *#wholeChoices(): Generator<Written<CompletionResponseChoice>, void> {
    const { n = 1, echo = false, logprobs, return_token_ids: givesIds, prompt_logprobs: count } = this.#body;
    for (const [index, answer] of this.#collected.sorted()) {
      const promptIndex = Math.floor(index / n);
      yield {
        index,
        text: echo ? this.#promptText(promptIndex) + answer.text : answer.text,
        logprobs: logprobs === undefined ? null : this.#wholeLogprobs(promptIndex, answer),
        ...answer.end(givesIds),
        ...(givesIds && { prompt_token_ids: this.#prompts[promptIndex] }),
        ...(count !== undefined && { prompt_logprobs: this.#wholePromptLogprobs(promptIndex, count) }),
      };
    }
  }

  #wholePromptLogprobs(promptIndex: number, count: number): Written<PromptLogprobsField> {
    const logprobs = this.#promptLogprobs.get(promptIndex);
    return new JsonList(() => promptLogprobsField(logprobs ?? [], count, this.#model.llm.tokenizer));
  }

  /** Logprobs of a choice. Each field has its own pass over the tokens, so that no written element is kept. */
  #wholeLogprobs(promptIndex: number, { tokens }: CollectedAnswer): Written<CompletionLogprobs> {
    const prompt = () => (this.#body.echo ? this.#promptTokens(promptIndex) : []);
    const written = <Name extends keyof CompletionLogprobs>(name: Name) =>
      new JsonList(() => this.#writtenLogprobs(name, promptIndex, [prompt(), tokens ?? []]));
    return {
      tokens: written('tokens'),
      token_logprobs: written('token_logprobs'),
      top_logprobs: written('top_logprobs'),
      text_offset: written('text_offset'),
    };
  }

  *#writtenLogprobs<Name extends keyof CompletionLogprobs>(
    name: Name,
    promptIndex: number,
    lists: readonly Iterable<LoggedToken>[],
  ): Generator<CompletionLogprobs[Name][number], void> {
    const writer = this.#newLogprobs(promptIndex);
    // Finding the texts of the likeliest tokens takes most of the time, and only one field needs them.
    const needed = (token: LoggedToken) => (name === 'top_logprobs' ? token : { ...token, topLogprobs: [] });
    let last: LoggedToken | undefined;
    for (const tokens of lists) {
      for (const token of tokens) {
        if (last) yield* writer.write([needed(last)], false)[name];
        last = token;
      }
    }
    if (last) yield* writer.write([needed(last)], true)[name];
  }

  /** New part of a choice: one event, or several if it has many tokens with logprobs. */
  *#choices(promptIndex: number, output: CompletionOutput): Generator<CompletionResponseChoice, void> {
    const { echo = false, logprobs, return_token_ids: givesIds } = this.#body;
    const { tokens, finishReason } = output;
    const index = this.#indexOf(promptIndex, output.index);
    const isFirst = !this.#logprobs.has(index);
    const writer = this.#logprobsOf(index, promptIndex);
    const echoes = echo && isFirst;
    let given = echoes ? this.#promptText(promptIndex) : '';
    const pending: LoggedToken[] = [];
    const piece = (isEnd: boolean): CompletionResponseChoice => {
      const choice = {
        index,
        text: given,
        logprobs: logprobs === undefined ? null : writer.write(pending.splice(0), isEnd),
        finish_reason: null,
        stop_reason: null,
      };
      given = '';
      return choice;
    };
    for (const token of echoes && logprobs !== undefined ? this.#promptTokens(promptIndex) : []) {
      if (pending.length === EVENT_TOKENS) yield piece(false);
      pending.push(token);
    }
    for (const token of tokens) {
      if (logprobs !== undefined && pending.length === EVENT_TOKENS) yield piece(false);
      pending.push(token);
      given += token.text;
    }
    yield {
      ...piece(finishReason !== null),
      ...choiceEnd(output, givesIds),
      ...(givesIds && isFirst && { prompt_token_ids: this.#prompts[promptIndex] }),
    };
  }

  #indexOf(promptIndex: number, answer: number): number {
    return promptIndex * (this.#body.n ?? 1) + answer;
  }

  /** Writer of a choice's logprobs, which counts the characters before them. */
  #logprobsOf(index: number, promptIndex: number): CompletionLogprobsWriter {
    const known = this.#logprobs.get(index) ?? this.#newLogprobs(promptIndex);
    this.#logprobs.set(index, known);
    return known;
  }

  #newLogprobs(promptIndex: number): CompletionLogprobsWriter {
    const { echo = false, skip_special_tokens: skipSpecialTokens } = this.#body;
    const prompt = echo ? [] : this.#prompts[promptIndex];
    return new CompletionLogprobsWriter(new TokenTexts(this.#model.llm.tokenizer, { prompt, skipSpecialTokens }));
  }

  #promptText(promptIndex: number): string {
    const given = this.#texts[promptIndex];
    if (given !== undefined) return given;
    if (this.#lastText?.promptIndex !== promptIndex) {
      this.#lastText = { promptIndex, text: this.#model.decode(this.#prompts[promptIndex]) };
    }
    return this.#lastText.text;
  }

  *#promptTokens(promptIndex: number): Generator<LoggedToken, void> {
    const text = this.#promptText(promptIndex);
    let position = 0;
    for (const token of this.#promptLogprobs.get(promptIndex) ?? []) {
      const tokenId = this.#prompts[promptIndex][position++];
      const isShown = (offset: number) => isShownIn(text, offset, tokenId, this.#model.llm.tokenizer);
      // Both fields may ask for the prompt's; this one may have asked for fewer.
      const topLogprobs = token?.topLogprobs.slice(0, this.#body.logprobs);
      yield { tokenId, logprob: token?.logprob ?? null, ...(topLogprobs && { topLogprobs }), isShown };
    }
  }
}

function response(
  head: AnswerHead,
  choices: readonly CompletionResponseChoice[],
  usage: UsageField,
): CompletionResponse {
  const { id, created, model } = head;
  return { id, object: 'text_completion', created, model, choices, ...usage };
}
