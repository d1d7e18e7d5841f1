import type { HttpError } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import type { AnswerHead, AnswerWriter, GrowingAnswer } from './answer.ts';
import type { GenerationOutput } from './generation.ts';
import { DATA_EVENTS } from './stream-form.ts';

/** Field `usage` of an event: absent unless it is asked for, null until it is known. */
export interface UsageField {
  readonly usage?: Usage | null;
}

/** Fields of a request that say which events have the usage. */
interface StreamFields {
  readonly stream_options?:
    | { readonly include_usage?: boolean | undefined; readonly continuous_usage_stats?: boolean | undefined }
    | undefined;
}

/** Writer of chats and completions: each event is a chunk with the new parts of some choices. */
export abstract class ChunkWriter implements AnswerWriter {
  readonly streamForm = DATA_EVENTS;
  readonly #fields: StreamFields;

  constructor(fields: StreamFields) {
    this.#fields = fields;
  }

  /** Events for an output; each has the usage if it is given. */
  abstract chunks(output: GenerationOutput, head: AnswerHead, usage: UsageField): Iterable<object>;
  /** The event that gives the usage and nothing else. */
  abstract usageChunk(head: AnswerHead, usage: Usage): object;
  abstract add(output: GenerationOutput): void;
  abstract whole(head: AnswerHead, usage: Usage): object;

  async *events(answer: GrowingAnswer): AsyncGenerator<object, void> {
    const { stream_options: options } = this.#fields;
    const includesUsage = options?.include_usage ?? false;
    for await (const output of answer.outputs()) {
      const usage = options?.continuous_usage_stats ? answer.usage() : null;
      yield* this.chunks(output, answer.head, includesUsage ? { usage } : {});
    }
    if (includesUsage) yield this.usageChunk(answer.head, answer.usage());
  }

  failure(error: HttpError): Iterable<object> {
    return [error];
  }
}
