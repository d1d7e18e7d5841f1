import { AnswerReader } from '../../engine/chat/answer-reader.ts';
import { LogprobColumns } from '../../engine/request/logprob-columns.ts';
import type { CompletionOutput } from '../../engine/request/request-output.ts';
import type { AnswerDelta } from '../../text/parsers/answer-delta.ts';
import { TokenTexts } from '../../text/token-texts.ts';
import type { AnswerHead, AnswerWriter, GrowingAnswer } from '../answer/answer.ts';
import type { AskedAnswer } from '../answer/conversation.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { JsonList } from '../answer/json-pieces.ts';
import type { ServedModel } from '../answer/served-model.ts';
import { NAMED_EVENTS } from '../answer/stream-form.ts';
import { type ChatTokenLogprobs, chatLogprobs, eachLogprobs } from '../wire/chat-response.ts';
import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import { type ItemEvent, OutputItems, type TextLogprobs, type TokenRange } from './output-items.ts';
import { type ResponseState, responseObject, responseUsage } from './response-object.ts';
import { givesLogprobs, type ResponseRequest } from './wire/response-request.ts';

/** Writes an answer as a response, or as the events of one. */
export class ResponseWriter implements AnswerWriter {
  readonly streamForm = NAMED_EVENTS;
  readonly #model: ServedModel;
  readonly #body: ResponseRequest;
  readonly #asked: AskedAnswer;
  readonly #reader: AnswerReader;
  readonly #items: OutputItems;
  /** Tokens of a whole answer, if their logprobs are asked for. */
  readonly #columns: LogprobColumns | undefined;
  /** Texts of the tokens of a stream, for the same reason. */
  readonly #texts: TokenTexts | undefined;
  #head: AnswerHead | undefined;
  #numEvents = 0;
  #numTokens = 0;
  /** Number of the first token that no part has come by yet, and what a stream says of those from there on. */
  #firstUnused = 0;
  #unused: ChatTokenLogprobs[] = [];

  constructor(model: ServedModel, body: ResponseRequest, asked: AskedAnswer) {
    this.#model = model;
    this.#body = body;
    this.#asked = asked;
    this.#reader = new AnswerReader(asked.form);
    const { summary, generate_summary: older } = body.reasoning ?? {};
    this.#items = new OutputItems(summary !== undefined || older !== undefined);
    if (!givesLogprobs(body)) return;
    if (body.stream) this.#texts = this.#newTexts();
    else this.#columns = new LogprobColumns(body.top_logprobs ?? 0);
  }

  async *events({ head, outputs, usage }: GrowingAnswer): AsyncGenerator<object, void> {
    this.#head = head;
    const begin = this.#response(head, { status: 'in_progress', output: [] });
    yield this.#numbered({ type: 'response.created', response: begin });
    yield this.#numbered({ type: 'response.in_progress', response: begin });
    for await (const output of outputs()) {
      for (const event of this.#read(output)) yield this.#numbered(event);
    }
    const response = this.#whole(head, usage(), () => []);
    yield this.#numbered({ type: `response.${response.status}`, response });
  }

  *failure(error: HttpError): Generator<object, void> {
    if (!this.#head) return;
    for (const event of this.#items.end('incomplete')) yield this.#numbered(event);
    const response = this.#response(this.#head, { status: 'failed', output: this.#items.all(() => []), error });
    yield this.#numbered({ type: 'response.failed', response });
  }

  add(output: GenerationOutput): void {
    for (const _ of this.#read(output)) {
      // The events are for streams.
    }
  }

  whole(head: AnswerHead, usage: Usage): object {
    return this.#whole(head, usage, (range) => new JsonList(() => this.#writtenLogprobs(range)));
  }

  #whole(head: AnswerHead, usage: Usage, logprobs: (range: TokenRange) => TextLogprobs) {
    return this.#response(head, {
      status: this.#reader.finishReason === 'length' ? 'incomplete' : 'completed',
      output: this.#items.all(logprobs),
      usage: responseUsage(usage, this.#reader.reasoningTokens),
    });
  }

  #response(head: AnswerHead, state: ResponseState) {
    return responseObject(head, this.#body, state);
  }

  #numbered(event: ItemEvent): object {
    return { ...event, sequence_number: this.#numEvents++ };
  }

  /** The events of an output; there is one answer. */
  *#read({ outputs: [output] }: GenerationOutput): Generator<ItemEvent, void> {
    if (!output) return;
    const { tokens, finishReason } = output;
    for (const [i, token] of tokens.entries()) {
      this.#numTokens++;
      this.#columns?.push(token);
      const isLast = finishReason !== null && i === tokens.length - 1;
      if (this.#texts) this.#unused.push(...chatLogprobs([token], this.#texts, isLast).content);
      yield* this.#addParts(this.#reader.push([token], null));
    }
    if (finishReason !== null) yield* this.#end(finishReason);
  }

  *#end(finishReason: NonNullable<CompletionOutput['finishReason']>): Generator<ItemEvent, void> {
    yield* this.#addParts(this.#reader.push([], finishReason));
    yield* this.#items.end(finishReason === 'length' ? 'incomplete' : 'completed');
  }

  *#addParts(deltas: readonly AnswerDelta[]): Generator<ItemEvent, void> {
    for (const delta of deltas) {
      const range = { begin: this.#firstUnused, end: this.#numTokens };
      const logprobs = this.#unused;
      this.#firstUnused = this.#numTokens;
      this.#unused = [];
      yield* this.#items.add(delta, logprobs, range);
    }
  }

  /** Logprobs of some tokens. Their texts depend on those before them. */
  *#writtenLogprobs({ begin, end }: TokenRange): Generator<ChatTokenLogprobs, void> {
    let position = 0;
    for (const each of this.#columns ? eachLogprobs(this.#columns, this.#newTexts()) : []) {
      if (position === end) return;
      if (position++ >= begin) yield each;
    }
  }

  #newTexts(): TokenTexts {
    const { prompt, options } = this.#asked;
    return new TokenTexts(this.#model.llm.tokenizer, { prompt, skipSpecialTokens: options.skipSpecialTokens });
  }
}
