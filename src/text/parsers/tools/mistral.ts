import { CallListReader } from '../call-object.ts';
import { JsonScanner, type Scan } from '../json-scanner.ts';
import { randomId } from '../random-id.ts';
import type { CallReader, CallSink, ToolDialect } from '../tool-dialect.ts';

const MARKER = '[TOOL_CALLS]';

/**
 * Mistral and Codestral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or in later templates
 * `[TOOL_CALLS]name[ARGS]{…}`, which a call's id may precede: `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`.
 */
export const mistral: ToolDialect = {
  name: 'mistral',
  markers: [MARKER],
  newId: () => randomId(9), // The templates refuse ids of another length.
  reader: (_, sink) => new MistralReader(sink),
  frame: (name) => ({
    begin: `${MARKER}[{"name": ${JSON.stringify(name)}, "arguments": `,
    arguments: 'json',
    end: '}]',
  }),
};

class MistralReader implements CallReader {
  readonly #sink: CallSink;
  #list: CallListReader | undefined;
  /** The name, and what follows it before the arguments. */
  #head = '';
  #arguments: JsonScanner | undefined;

  constructor(sink: CallSink) {
    this.#sink = sink;
  }

  push(char: string): Scan {
    if (this.#list !== undefined) return this.#list.push(char);
    if (this.#arguments !== undefined) return this.#inArguments(this.#arguments, char);
    if (this.#head === '' && /\s/.test(char)) return 'more';
    if (this.#head === '' && char === '[') {
      this.#list = new CallListReader(this.#sink);
      return this.#list.push(char);
    }
    if (char !== '{') {
      this.#head += char;
      return HEAD_BEGIN.test(this.#head) ? 'more' : 'error';
    }
    const name = HEAD.exec(this.#head)?.[1];
    if (name === undefined) return 'error';
    this.#sink.open(name);
    this.#arguments = new JsonScanner();
    return this.#inArguments(this.#arguments, char);
  }

  #inArguments(scanner: JsonScanner, char: string): Scan {
    const scan = scanner.push(char);
    const json = scanner.take();
    if (scan !== 'error' && json !== '') this.#sink.arguments(json);
    if (scan === 'end') this.#sink.close();
    return scan;
  }
}

const HEAD = /^([\w.-]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?$/;

/** A name, and what may be a beginning of the rest: text that can't become a head is no call. */
const HEAD_BEGIN = /^[\w.-]+\s*(?:\[[\w\s[\]]*)?$/;
