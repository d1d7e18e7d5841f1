import type { Context } from 'hono';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import type { CompletionOutput, PromptTokenLogprob } from '../../engine/request-output.ts';
import { isShownIn, TokenTexts } from '../../text/token-texts.ts';
import { type AnswerHead, type AnswerWriter, answer } from '../answer.ts';
import type { ServerEnv } from '../env.ts';
import type { GenerationOutput } from '../generation.ts';
import { readJsonBody } from '../json-body.ts';
import type { ServedModel } from '../served-model.ts';
import { CompletionLogprobsWriter, type LoggedToken } from '../wire/completion-logprobs.ts';
import { type CompletionRequest, completionRequest } from '../wire/completion-request.ts';
import type { CompletionChoice, CompletionResponse } from '../wire/completion-response.ts';
import { halfLivesField } from '../wire/half-lives.ts';
import { promptList } from '../wire/prompt-field.ts';
import { samplingOptions } from '../wire/sampling-fields.ts';
import type { Usage } from '../wire/usage.ts';

/** OpenAI's. */
const DEFAULT_MAX_TOKENS = 16;

/** `POST /v1/completions` */
export function completions(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await readJsonBody(c, completionRequest, model.limits.maxBodyBytes);
    model.assertName(body.model);
    const sources = promptList(body.prompt);
    model.assertFewPrompts(sources.length);
    const prompts: (readonly number[])[] = [];
    for (const source of sources) {
      // Others have a turn between two texts: long ones take long.
      if (prompts.length > 0) await yieldToEventLoop();
      prompts.push(model.encode(source, body.add_special_tokens));
    }
    const options = { ...samplingOptions(body), logprobs: body.logprobs };
    const promptLogprobs = body.echo ? body.logprobs : undefined;
    const writer = new CompletionWriter(model, body, sources, prompts);
    const maxTokens = body.max_tokens ?? DEFAULT_MAX_TOKENS;
    return answer(
      c,
      model,
      { idPrefix: 'cmpl', prompts, options: { ...options, promptLogprobs }, maxTokens, fields: body },
      writer,
    );
  };
}

/** Writes outputs as choices: those of a prompt stand together, in the order of the prompts. */
class CompletionWriter implements AnswerWriter {
  readonly #model: ServedModel;
  readonly #body: CompletionRequest;
  readonly #sources: readonly (string | readonly number[])[];
  readonly #prompts: readonly (readonly number[])[];
  readonly #promptLogprobs = new Map<number, GenerationOutput['promptLogprobs']>();
  readonly #logprobs = new Map<number, CompletionLogprobsWriter>();
  readonly #parts = new Map<number, CompletionChoice[]>();

  constructor(
    model: ServedModel,
    body: CompletionRequest,
    sources: readonly (string | readonly number[])[],
    prompts: readonly (readonly number[])[],
  ) {
    this.#model = model;
    this.#body = body;
    this.#sources = sources;
    this.#prompts = prompts;
  }

  *chunks(output: GenerationOutput, head: AnswerHead, usage: { readonly usage?: Usage | null }): Iterable<object> {
    for (const choice of this.#choices(output)) yield response(head, [choice], usage);
  }

  usageChunk(head: AnswerHead, usage: Usage): CompletionResponse {
    return response(head, [], { usage });
  }

  add(output: GenerationOutput): void {
    for (const choice of this.#choices(output)) {
      const parts = this.#parts.get(choice.index);
      if (parts) parts.push(choice);
      else this.#parts.set(choice.index, [choice]);
    }
  }

  whole(head: AnswerHead, usage: Usage): CompletionResponse {
    const choices = [...this.#parts.values()].map(joined).sort((a, b) => a.index - b.index);
    return response(head, choices, { usage });
  }

  *#choices({ promptIndex, promptLogprobs, outputs }: GenerationOutput): Iterable<CompletionChoice> {
    if (promptLogprobs) this.#promptLogprobs.set(promptIndex, promptLogprobs);
    for (const output of outputs) yield this.#choice(promptIndex, output);
  }

  #choice(
    promptIndex: number,
    { index: answer, text, tokens, finishReason, stopReason }: CompletionOutput,
  ): CompletionChoice {
    const { n = 1, echo = false, logprobs, return_token_ids: givesIds } = this.#body;
    const index = promptIndex * n + answer;
    const isFirst = !this.#logprobs.has(index);
    const logprobsOf = this.#logprobsOf(index, promptIndex);
    const echoes = echo && isFirst;
    const logprobTokens = [...(echoes ? this.#promptTokens(promptIndex) : []), ...tokens];
    return {
      index,
      text: echoes ? this.#promptText(promptIndex) + text : text,
      logprobs: logprobs === undefined ? null : logprobsOf.write(logprobTokens, finishReason !== null),
      finish_reason: finishReason,
      stop_reason: stopReason,
      ...(givesIds && { token_ids: tokens.map(({ tokenId }) => tokenId) }),
      ...(givesIds && isFirst && { prompt_token_ids: this.#prompts[promptIndex] }),
      ...halfLivesField(tokens),
    };
  }

  /** One per choice, which counts the text that went before. */
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
    const source = this.#sources[promptIndex];
    return typeof source === 'string' ? source : this.#model.decode(source);
  }

  #promptTokens(promptIndex: number): readonly LoggedToken[] {
    const known: readonly (PromptTokenLogprob | null)[] = this.#promptLogprobs.get(promptIndex) ?? [];
    const text = this.#promptText(promptIndex);
    return known.map((token, i) => {
      const tokenId = this.#prompts[promptIndex][i];
      const isShown = (offset: number) => isShownIn(text, offset, tokenId, this.#model.llm.tokenizer);
      return { ...(token ?? { tokenId, logprob: null }), isShown };
    });
  }
}

function response(
  head: AnswerHead,
  choices: readonly CompletionChoice[],
  usage: { readonly usage?: Usage | null },
): CompletionResponse {
  const { id, created, model } = head;
  return { id, object: 'text_completion', created, model, choices, ...usage };
}

/** One choice of what came of it bit by bit. */
function joined(parts: readonly CompletionChoice[]): CompletionChoice {
  const [first] = parts;
  const { index, finish_reason, stop_reason } = parts[parts.length - 1];
  const halfLives = parts.findLast(({ half_lives }) => half_lives)?.half_lives;
  return {
    index,
    text: parts.map(({ text }) => text).join(''),
    logprobs: first.logprobs && {
      tokens: parts.flatMap(({ logprobs }) => logprobs?.tokens ?? []),
      token_logprobs: parts.flatMap(({ logprobs }) => logprobs?.token_logprobs ?? []),
      top_logprobs: parts.flatMap(({ logprobs }) => logprobs?.top_logprobs ?? []),
      text_offset: parts.flatMap(({ logprobs }) => logprobs?.text_offset ?? []),
    },
    finish_reason,
    stop_reason,
    ...(first.token_ids && { token_ids: parts.flatMap(({ token_ids }) => token_ids ?? []) }),
    ...(first.prompt_token_ids && { prompt_token_ids: first.prompt_token_ids }),
    ...(halfLives && { half_lives: halfLives }),
  };
}
