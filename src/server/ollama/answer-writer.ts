import { mergedDeltas } from '../../engine/chat/answer-reader.ts';
import { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import type { TokenTexts } from '../../text/token-texts.ts';
import type { AnswerHead, AnswerWriter, GrowingAnswer } from '../answer/answer.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { JsonList } from '../answer/json-pieces.ts';
import { SingleAnswer } from '../answer/single-answer.ts';
import { JSON_LINES } from '../answer/stream-form.ts';
import type { RequestRecord } from '../request/request-record.ts';
import { chatLogprobs, eachLogprobs } from '../wire/chat-response.ts';
import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import { type AnswerEnd, type AnswerKind, answerLine, lineHead } from './answer-line.ts';
import { ollamaError } from './wire/errors.ts';

/** Facts about a request that its answer depends on. */
export interface AskedLines {
  readonly kind: AnswerKind;
  /** Name of the model as the request has it. */
  readonly model: string;
  readonly form: AnswerForm;
  /** Likeliest tokens in place of each; undefined: no logprobs are given. */
  readonly topLogprobs: number | undefined;
  /** Texts of the answer's tokens, from the first on. */
  readonly newTexts: () => TokenTexts;
  readonly record: RequestRecord;
}

const NANOSECONDS = 1e6;

/** Writes an answer as Ollama does: whole, or as lines. Calls are sent when they are whole, at the end. */
export class OllamaWriter implements AnswerWriter {
  readonly streamForm = JSON_LINES;
  readonly #asked: AskedLines;
  readonly #answer: SingleAnswer;
  readonly #tokens: LogprobColumns | undefined;
  readonly #began = performance.now();
  /** Times of the first and the last output. */
  #first: number | undefined;
  #last: number | undefined;

  constructor(asked: AskedLines) {
    this.#asked = asked;
    this.#answer = new SingleAnswer(asked.form);
    this.#tokens = asked.topLogprobs === undefined ? undefined : new LogprobColumns(asked.topLogprobs);
  }

  async *events({ outputs, usage }: GrowingAnswer): AsyncGenerator<object, void> {
    const { kind, model } = this.#asked;
    const texts = this.#tokens && this.#asked.newTexts();
    for await (const output of outputs()) {
      this.#clock();
      const deltas = this.#answer.read(output);
      const { parsed, finishReason } = this.#answer;
      parsed.add(deltas.filter(({ type }) => type === 'toolCall' || type === 'malformedCall'));
      const tokens = output.outputs.flatMap((each) => each.tokens);
      const logprobs = texts && chatLogprobs(tokens, texts, finishReason !== null).content;
      const { text, reasoning } = mergedDeltas(deltas);
      if (text === '' && reasoning === undefined && !logprobs?.length) continue;
      yield answerLine(lineHead(model), kind, { text, reasoning, logprobs }, { done: false });
    }
    const { toolCalls } = this.#answer.parsed;
    if (toolCalls.length > 0) yield answerLine(lineHead(model), kind, { text: '', toolCalls }, { done: false });
    yield answerLine(lineHead(model), kind, { text: '' }, this.#end(usage()));
  }

  failure(error: HttpError): Iterable<object> {
    return [ollamaError(error)];
  }

  add(output: GenerationOutput): void {
    this.#clock();
    this.#answer.add(output);
    for (const { tokens } of output.outputs) for (const token of tokens) this.#tokens?.push(token);
  }

  whole(_: AnswerHead, usage: Usage): object {
    const { kind, model, newTexts } = this.#asked;
    const tokens = this.#tokens;
    const logprobs = tokens && new JsonList(() => eachLogprobs(tokens, newTexts()));
    const { text, reasoning, toolCalls } = this.#answer.parsed;
    return answerLine(lineHead(model), kind, { text, reasoning, toolCalls, logprobs }, this.#end(usage));
  }

  #clock(): void {
    this.#last = performance.now();
    this.#first ??= this.#last;
  }

  #end(usage: Usage): AnswerEnd {
    const first = this.#first ?? this.#began;
    const nanoseconds = (milliseconds: number) => Math.round(milliseconds * NANOSECONDS);
    return {
      done: true,
      done_reason: this.#answer.finishReason === 'length' ? 'length' : 'stop',
      total_duration: nanoseconds(this.#asked.record.milliseconds),
      load_duration: 0,
      prompt_eval_count: usage.prompt_tokens,
      prompt_eval_duration: nanoseconds(first - this.#began),
      eval_count: usage.completion_tokens,
      eval_duration: nanoseconds((this.#last ?? first) - first),
    };
  }
}
