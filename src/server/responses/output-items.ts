import type { AnswerDelta, ToolCallDelta } from '../../text/parsers/answer-delta.ts';
import { randomId } from '../../text/parsers/random-id.ts';
import { LongText } from '../../util/long-text.ts';
import type { Written } from '../answer/json-pieces.ts';
import type { ChatTokenLogprobs } from '../wire/chat-response.ts';
import type { OutputItem, OutputText, ResponseStatus } from './response-object.ts';

/** An event without its number. */
export interface ItemEvent {
  readonly type: string;
  readonly [member: string]: unknown;
}

/** Logprobs of a message's text, in the order of its tokens. */
export type TextLogprobs = Written<OutputText>['logprobs'];

/** Tokens of a message's text: from `begin` to before `end` of the answer's. */
export interface TokenRange {
  readonly begin: number;
  readonly end: number;
}

/** The items of a response, while its parts come: thoughts, messages and calls, in their order. */
export class OutputItems {
  readonly #isSummary: boolean;
  readonly #items: GrowingItem[] = [];
  /** Numbers of the items of calls by the calls' own numbers. */
  readonly #calls = new Map<number, CallItem>();
  #open: GrowingItem | undefined;

  /** @param isSummary whether thoughts come as the summary of thoughts. */
  constructor(isSummary: boolean) {
    this.#isSummary = isSummary;
  }

  /** The events of a part. @param logprobs of its tokens. @param tokens that a text has come by. */
  *add(delta: AnswerDelta, logprobs: readonly ChatTokenLogprobs[], tokens: TokenRange): Generator<ItemEvent, void> {
    if (delta.type === 'text') {
      if (!(this.#open instanceof TextItem)) yield* this.#begin(new TextItem(this.#items.length, tokens.begin));
      if (this.#open instanceof TextItem) yield* this.#open.add(delta.text, logprobs, tokens.end);
    } else if (delta.type === 'reasoning') {
      if (!(this.#open instanceof ThoughtItem)) {
        yield* this.#begin(new ThoughtItem(this.#items.length, this.#isSummary));
      }
      if (this.#open instanceof ThoughtItem) yield* this.#open.add(delta.text);
    } else if (delta.type === 'toolCall') {
      const known = this.#calls.get(delta.call.index);
      const item = known ?? new CallItem(this.#items.length, delta.call);
      this.#calls.set(delta.call.index, item);
      if (!known) yield* this.#begin(item);
      yield* item.add(delta.call.arguments ?? '');
    } else {
      yield* this.#discard(delta.index);
    }
  }

  /** The last events. An answer without parts is an empty message. */
  *end(status: ResponseStatus): Generator<ItemEvent, void> {
    if (this.#items.length === 0) yield* this.#begin(new TextItem(0, 0));
    if (this.#open) yield* this.#open.end(status);
    this.#open = undefined;
  }

  /** The items so far. @param logprobs of a message's tokens. */
  all(logprobs: (tokens: TokenRange) => TextLogprobs): Written<OutputItem>[] {
    return this.#items.flatMap((item) => (item.isMalformed ? [] : [item.item(logprobs)]));
  }

  *#begin(item: GrowingItem): Generator<ItemEvent, void> {
    if (this.#open) yield* this.#open.end('completed');
    this.#open = item;
    this.#items.push(item);
    yield* item.begin();
  }

  /** Ends a call that is none. Its item can't be taken back, but it is not a part of the whole response. */
  *#discard(index: number): Generator<ItemEvent, void> {
    const item = this.#calls.get(index);
    if (!item) return;
    item.isMalformed = true;
    yield* item.end('incomplete');
    if (this.#open === item) this.#open = undefined;
  }
}

/** An item of a response. */
abstract class GrowingItem {
  readonly id: string;
  readonly index: number;
  status: ResponseStatus = 'in_progress';
  /** Whether it is a call that turned out to be text. */
  isMalformed = false;

  constructor(prefix: string, index: number) {
    this.id = `${prefix}_${randomId(24)}`;
    this.index = index;
  }

  *begin(): Generator<ItemEvent, void> {
    yield { type: 'response.output_item.added', output_index: this.index, item: this.empty() };
    yield* this.beginPart();
  }

  *end(status: ResponseStatus): Generator<ItemEvent, void> {
    this.status = status;
    yield* this.endPart();
    yield { type: 'response.output_item.done', output_index: this.index, item: this.item(() => []) };
  }

  /** Members of an event about the item. */
  protected get place() {
    return { item_id: this.id, output_index: this.index };
  }

  abstract item(logprobs: (tokens: TokenRange) => TextLogprobs): Written<OutputItem>;
  protected abstract empty(): OutputItem;
  protected abstract beginPart(): Iterable<ItemEvent>;
  protected abstract endPart(): Iterable<ItemEvent>;
}

class TextItem extends GrowingItem {
  readonly #text = new LongText();
  readonly #begin: number;
  #end: number;

  constructor(index: number, firstToken: number) {
    super('msg', index);
    this.#begin = firstToken;
    this.#end = firstToken;
  }

  *add(delta: string, logprobs: readonly ChatTokenLogprobs[], endToken: number): Generator<ItemEvent, void> {
    this.#text.add(delta);
    this.#end = endToken;
    yield { type: 'response.output_text.delta', ...this.#part, delta, logprobs };
  }

  item(logprobs: (tokens: TokenRange) => TextLogprobs): Written<OutputItem> {
    const content = {
      ...outputText(this.#text.toString()),
      logprobs: logprobs({ begin: this.#begin, end: this.#end }),
    };
    return { ...this.empty(), content: [content] };
  }

  protected empty() {
    return { id: this.id, type: 'message', status: this.status, role: 'assistant', content: [] } as const;
  }

  protected *beginPart(): Generator<ItemEvent, void> {
    yield { type: 'response.content_part.added', ...this.#part, part: outputText('') };
  }

  protected *endPart(): Generator<ItemEvent, void> {
    const text = this.#text.toString();
    yield { type: 'response.output_text.done', ...this.#part, text, logprobs: [] };
    yield { type: 'response.content_part.done', ...this.#part, part: outputText(text) };
  }

  get #part() {
    return { ...this.place, content_index: 0 };
  }
}

function outputText(text: string): OutputText {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

class ThoughtItem extends GrowingItem {
  readonly #text = new LongText();
  readonly #isSummary: boolean;

  constructor(index: number, isSummary: boolean) {
    super('rs', index);
    this.#isSummary = isSummary;
  }

  *add(delta: string): Generator<ItemEvent, void> {
    this.#text.add(delta);
    yield {
      type: this.#isSummary ? 'response.reasoning_summary_text.delta' : 'response.reasoning_text.delta',
      ...this.#part,
      delta,
    };
  }

  item(): OutputItem {
    const text = this.#text.toString();
    const { id, status } = this;
    return this.#isSummary
      ? { id, type: 'reasoning', status, summary: [{ type: 'summary_text', text }] }
      : { id, type: 'reasoning', status, summary: [], content: [{ type: 'reasoning_text', text }] };
  }

  protected empty(): OutputItem {
    return {
      id: this.id,
      type: 'reasoning',
      status: this.status,
      summary: [],
      ...(!this.#isSummary && { content: [] }),
    };
  }

  protected *beginPart(): Generator<ItemEvent, void> {
    yield {
      type: this.#isSummary ? 'response.reasoning_summary_part.added' : 'response.content_part.added',
      ...this.#part,
      part: this.#written(''),
    };
  }

  protected *endPart(): Generator<ItemEvent, void> {
    const text = this.#text.toString();
    const [textDone, partDone] = this.#isSummary
      ? ['response.reasoning_summary_text.done', 'response.reasoning_summary_part.done']
      : ['response.reasoning_text.done', 'response.content_part.done'];
    yield { type: textDone, ...this.#part, text };
    yield { type: partDone, ...this.#part, part: this.#written(text) };
  }

  #written(text: string) {
    return { type: this.#isSummary ? 'summary_text' : 'reasoning_text', text };
  }

  get #part() {
    return { ...this.place, ...(this.#isSummary ? { summary_index: 0 } : { content_index: 0 }) };
  }
}

class CallItem extends GrowingItem {
  readonly #arguments = new LongText();
  readonly #callId: string;
  readonly #name: string;

  constructor(index: number, { id = '', name = '' }: ToolCallDelta) {
    super('fc', index);
    this.#callId = id;
    this.#name = name;
  }

  *add(delta: string): Generator<ItemEvent, void> {
    if (delta === '') return;
    this.#arguments.add(delta);
    yield { type: 'response.function_call_arguments.delta', ...this.place, delta };
  }

  item(): OutputItem {
    return { ...this.empty(), arguments: this.#arguments.toString() };
  }

  protected empty() {
    const [call_id, name] = [this.#callId, this.#name];
    return { id: this.id, type: 'function_call', status: this.status, call_id, name, arguments: '' } as const;
  }

  protected *beginPart(): Generator<ItemEvent, void> {}

  protected *endPart(): Generator<ItemEvent, void> {
    const [name, json] = [this.#name, this.#arguments.toString()];
    yield { type: 'response.function_call_arguments.done', ...this.place, name, arguments: json };
  }
}
