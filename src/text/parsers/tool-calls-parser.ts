import type { AnswerDelta, DeltaList } from './answer-delta.ts';
import { MarkerSearch } from './marker-search.ts';
import { randomId } from './random-id.ts';
import type { ToolFunction } from './tool-definition.ts';
import type { CallReader, CallSink, ToolDialect } from './tool-dialect.ts';

const SPACE = /\s/;

/** Settings of a parser of calls. */
export interface ToolCallsOptions {
  readonly dialect: ToolDialect;
  /** The functions that the model knows. */
  readonly tools: readonly ToolFunction[];
  /** Calls after this many are left out. Default: none are. */
  readonly maxCalls?: number | undefined;
}

/**
 * Finds calls in an answer while it grows. The same text gives the same calls however it is cut. Space between calls,
 * and between them and the text, is left out. What is no call in the end stays text.
 */
export class ToolCallsParser {
  readonly #options: ToolCallsOptions;
  readonly #deltas: DeltaList;
  readonly #search: MarkerSearch;
  /** Space after text or calls: part of the answer only if text follows. */
  #space = '';
  /** Index of the call that was opened last. */
  #index = -1;
  #isOpen = false;
  /** Whole calls so far, and before the last marker. */
  #closed = 0;
  #closedBefore = 0;
  /** Whether nothing but space has come after the last call. */
  #afterCall = false;
  #reader: CallReader | undefined;
  /** The text since the last whole call, its marker included. */
  #raw = '';
  /** What of the dialect's end marker has come after the calls; undefined: it may not come now. */
  #end: string | undefined;

  constructor(options: ToolCallsOptions, deltas: DeltaList) {
    this.#options = options;
    this.#deltas = deltas;
    this.#search = new MarkerSearch(options.dialect.markers);
  }

  push(text: string): void {
    for (const char of text) this.#pushChar(char);
  }

  flush(): void {
    if (this.#reader !== undefined) this.#endReader(false);
    this.#skipEnd();
    this.#text(this.#search.flush());
    // Space at the end stays with text, but not with calls.
    if (this.#closed === 0) this.#deltas.push({ type: 'text', text: this.#space });
    this.#space = '';
  }

  #pushChar(char: string): void {
    if (this.#reader !== undefined) {
      this.#inCalls(this.#reader, char);
      return;
    }
    if (this.#end !== undefined && this.#inEnd(this.#end, char)) return;
    const { text, marker } = this.#search.push(char);
    this.#text(text);
    if (marker !== undefined) this.#openReader(marker);
  }

  #openReader(marker: string): void {
    const { dialect, tools } = this.#options;
    this.#raw = this.#space + marker;
    this.#space = '';
    this.#closedBefore = this.#closed;
    this.#reader = dialect.reader(marker, this.#sink, tools);
  }

  #inCalls(reader: CallReader, char: string): void {
    const scan = reader.push(char);
    if (scan === 'more' || scan === 'end') this.#raw += char;
    if (scan === 'more') return;
    this.#endReader(scan !== 'error');
    if (scan !== 'end') this.#pushChar(char);
  }

  /** @param isWhole whether the calls ended as they should; else what follows the last whole one is text. */
  #endReader(isWhole: boolean): void {
    this.#reader = undefined;
    if (isWhole && this.#closed > this.#closedBefore) {
      this.#end = '';
    } else {
      if (this.#isOpen) this.#malformed();
      this.#text(this.#raw);
    }
    this.#raw = '';
  }

  #malformed(): void {
    this.#isOpen = false;
    if (this.#isCounted) this.#deltas.push({ type: 'malformedCall', index: this.#index });
  }

  /** Whether a character is space before the end marker, or part of that. */
  #inEnd(end: string, char: string): boolean {
    const { endMarker } = this.#options.dialect;
    if (endMarker === undefined) {
      this.#end = undefined;
      return false;
    }
    const isSpace = end.trim() === '' && SPACE.test(char);
    if (!isSpace && !endMarker.startsWith(end.trimStart() + char)) {
      this.#skipEnd();
      return false;
    }
    this.#end = end + char;
    if (this.#end.trimStart() === endMarker) this.#end = undefined;
    return true;
  }

  /** What might have become an end marker is text. */
  #skipEnd(): void {
    const end = this.#end ?? '';
    this.#end = undefined;
    for (const char of end) this.#pushChar(char);
  }

  #text(text: string): void {
    for (const char of text) {
      if (SPACE.test(char)) {
        this.#space += char;
        continue;
      }
      // Space between a call and text after it is the call's.
      const space = this.#afterCall ? '' : this.#space;
      this.#space = '';
      this.#afterCall = false;
      this.#deltas.push({ type: 'text', text: space + char });
    }
  }

  /** Whether the current call is one of those that the answer may have. */
  get #isCounted(): boolean {
    return this.#closed < (this.#options.maxCalls ?? Number.POSITIVE_INFINITY);
  }

  readonly #sink: CallSink = {
    open: (name) => {
      this.#isOpen = true;
      if (!this.#isCounted) return;
      this.#index++;
      const id = (this.#options.dialect.newId ?? newCallId)();
      this.#call({ index: this.#index, id, name, arguments: '' });
    },
    arguments: (json) => {
      if (this.#isCounted) this.#call({ index: this.#index, arguments: json });
    },
    close: () => {
      this.#isOpen = false;
      this.#raw = '';
      this.#afterCall = true;
      this.#closed++;
    },
  };

  #call(call: Extract<AnswerDelta, { type: 'toolCall' }>['call']): void {
    this.#deltas.push({ type: 'toolCall', call });
  }
}

function newCallId(): string {
  return `call_${randomId(24)}`;
}
