import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import type { AnswerHead, AnswerWriter, GrowingAnswer } from '../answer/answer.ts';
import type { GenerationOutput } from '../answer/generation.ts';
import { SingleAnswer } from '../answer/single-answer.ts';
import { NAMED_EVENTS } from '../answer/stream-form.ts';
import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import { CollectedBlocks, ContentBlocks } from './content-blocks.ts';
import { type Message, type MessageEvent, messageEnd, messageUsage, NO_END } from './message.ts';
import { anthropicError } from './wire/errors.ts';

/** Facts about a request that its answer depends on. */
export interface AskedMessage {
  readonly form: AnswerForm;
  readonly showsThoughts: boolean;
  /** Signature of thoughts. */
  readonly signature: string;
  /** Names of tools whose inputs are sent while they grow. */
  readonly eagerTools: ReadonlySet<string>;
  /** Whether the answer may have fewer tokens than were asked for, because no more fit. */
  readonly fillsContext: boolean;
}

/** Time after which an event says that the answer grows although none of its parts can be sent. */
const MOST_STILL_MILLISECONDS = 10_000;

/** Writes an answer as a message, or as events of one. */
export class MessageWriter implements AnswerWriter {
  readonly streamForm = NAMED_EVENTS;
  readonly #asked: AskedMessage;
  readonly #answer: SingleAnswer;
  /** The blocks of an answer that is sent whole. */
  readonly #blocks: ContentBlocks;
  readonly #collected = new CollectedBlocks();

  constructor(asked: AskedMessage) {
    this.#asked = asked;
    this.#answer = new SingleAnswer(asked.form, asked.showsThoughts);
    this.#blocks = new ContentBlocks(asked.signature);
  }

  async *events({ head, outputs, usage }: GrowingAnswer): AsyncGenerator<MessageEvent, void> {
    const blocks = new ContentBlocks(this.#asked.signature, this.#asked.eagerTools);
    let hasBegun = false;
    let lastEvent = performance.now();
    for await (const output of outputs()) {
      const deltas = this.#answer.read(output);
      // Only now the number of cached tokens is known.
      if (!hasBegun) yield { type: 'message_start', message: this.#message(head, usage()) };
      const events = [...blocks.push(deltas)];
      // Thoughts that are not shown, and calls that are not whole, may take long.
      const isStill = events.length === 0 && performance.now() - lastEvent > MOST_STILL_MILLISECONDS;
      if (!hasBegun || isStill) yield { type: 'ping' };
      if (!hasBegun || isStill || events.length > 0) lastEvent = performance.now();
      hasBegun = true;
      yield* events;
    }
    yield* blocks.end();
    const end = messageEnd(this.#answer, this.#asked.fillsContext);
    yield { type: 'message_delta', delta: end, usage: this.#usage(usage()) };
    yield { type: 'message_stop' };
  }

  failure(error: HttpError): Iterable<object> {
    return [anthropicError(error)];
  }

  add(output: GenerationOutput): void {
    for (const event of this.#blocks.push(this.#answer.read(output))) this.#collected.add(event);
  }

  whole(head: AnswerHead, usage: Usage): Message {
    for (const event of this.#blocks.end()) this.#collected.add(event);
    const end = messageEnd(this.#answer, this.#asked.fillsContext);
    return { ...this.#message(head, usage), ...end, content: this.#collected.blocks };
  }

  #message({ id, model }: AnswerHead, usage: Usage): Message {
    return {
      id,
      type: 'message',
      role: 'assistant',
      model,
      content: [],
      ...NO_END,
      diagnostics: null,
      usage: { ...this.#usage(usage), cache_creation: null, inference_geo: null, service_tier: null, speed: null },
    };
  }

  #usage(usage: Usage) {
    return messageUsage(usage, this.#asked.form.reasoning && this.#answer.reasoningTokens);
  }
}
