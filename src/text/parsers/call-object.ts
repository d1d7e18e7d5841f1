import { JsonScanner, type Scan } from './json-scanner.ts';
import type { CallReader, CallSink } from './tool-dialect.ts';

const SPACE = /\s/;

type Place = 'open' | 'keyOrClose' | 'key' | 'colon' | 'value' | 'commaOrClose';

/** Reads `{"name": …, "arguments": {…}}`. Members may come in any order; further ones are ignored. */
export class CallObjectReader implements CallReader {
  readonly #sink: CallSink;
  #place: Place = 'open';
  #scanner = new JsonScanner();
  /** Current key or value as JSON, unless it is streamed. */
  #text = '';
  /** First character of the current key or value. */
  #first = '';
  #key = '';
  #isNamed = false;
  #hasArguments = false;
  /** Arguments that come before the name wait for it. */
  #waiting = '';

  constructor(sink: CallSink) {
    this.#sink = sink;
  }

  push(char: string): Scan {
    if (this.#place === 'value') return this.#inValue(char);
    if (this.#first === '' && SPACE.test(char)) return 'more';
    switch (this.#place) {
      case 'open':
        return char === '{' ? this.#goTo('keyOrClose') : 'error';
      case 'keyOrClose':
        return char === '}' ? this.#close() : this.#inKey(char);
      case 'key':
        return this.#inKey(char);
      case 'colon':
        return char === ':' ? this.#goTo('value') : 'error';
      case 'commaOrClose':
        if (char === ',') return this.#goTo('key');
        return char === '}' ? this.#close() : 'error';
    }
  }

  #inKey(char: string): Scan {
    if (this.#first === '') {
      if (char !== '"' && char !== "'") return 'error';
      this.#first = char;
      this.#place = 'key';
    }
    const scan = this.#scanner.push(char);
    this.#text += this.#scanner.take();
    if (scan !== 'end') return scan;
    this.#key = JSON.parse(this.#text);
    return this.#goTo('colon');
  }

  #inValue(char: string): Scan {
    if (this.#first === '' && SPACE.test(char)) return 'more';
    this.#first ||= char;
    const scan = this.#scanner.push(char);
    if (scan === 'error') return 'error';
    const json = this.#scanner.take();
    if (this.#isArguments && this.#first === '{') this.#stream(json);
    else this.#text += json;
    if (scan === 'more') return 'more';
    if (!this.#endValue()) return 'error';
    this.#goTo('commaOrClose');
    // The character after a number is no part of it.
    return scan === 'past' ? this.push(char) : 'more';
  }

  #endValue(): boolean {
    if (this.#isArguments) {
      if (this.#hasArguments) return false;
      this.#hasArguments = true;
      if (this.#first === '{') return true;
      const json = argumentsJson(JSON.parse(this.#text));
      if (json === undefined) return false;
      this.#stream(json);
      return true;
    }
    if (this.#key !== 'name') return true;
    const name: unknown = JSON.parse(this.#text);
    if (this.#isNamed || typeof name !== 'string' || name === '') return false;
    this.#isNamed = true;
    this.#sink.open(name);
    this.#stream(this.#waiting);
    this.#waiting = '';
    return true;
  }

  #stream(json: string): void {
    if (!this.#isNamed) this.#waiting += json;
    else if (json !== '') this.#sink.arguments(json);
  }

  #close(): Scan {
    if (!this.#isNamed) return 'error';
    if (!this.#hasArguments) this.#stream('{}');
    this.#sink.close();
    return 'end';
  }

  get #isArguments(): boolean {
    return this.#key === 'arguments' || this.#key === 'parameters';
  }

  #goTo(place: Place): Scan {
    this.#place = place;
    this.#scanner = new JsonScanner();
    this.#text = '';
    this.#first = '';
    return 'more';
  }
}

/** JSON of arguments that are no object: some models write its text, and null for none. */
function argumentsJson(value: unknown): string | undefined {
  if (value === null || value === '') return '{}';
  if (typeof value !== 'string') return undefined;
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a call, or a list of calls. */
export class CallListReader implements CallReader {
  readonly #sink: CallSink;
  #isList: boolean | undefined;
  #call: CallObjectReader | undefined;
  #hasCalls = false;
  /** Whether the list may end here, or continue with a comma. */
  #mayClose = true;

  constructor(sink: CallSink) {
    this.#sink = sink;
  }

  push(char: string): Scan {
    if (this.#call !== undefined) {
      const scan = this.#call.push(char);
      if (scan !== 'end') return scan;
      this.#call = undefined;
      return this.#isList ? 'more' : 'end';
    }
    if (SPACE.test(char)) return 'more';
    if (this.#isList === undefined && char === '[') {
      this.#isList = true;
      return 'more';
    }
    this.#isList ??= false;
    if (char === ']' && this.#isList && this.#mayClose) return 'end';
    if (char === ',' && this.#isList && this.#mayClose && this.#hasCalls) {
      this.#mayClose = false;
      return 'more';
    }
    if (char !== '{' || (this.#isList && this.#hasCalls && this.#mayClose)) return 'error';
    this.#call = new CallObjectReader(this.#sink);
    this.#hasCalls = true;
    this.#mayClose = true;
    return this.#call.push(char);
  }
}
