import type { JsonObject } from '../../../checkpoint/json/json-parser.ts';
import type { Scan } from '../json-scanner.ts';
import { MarkerSearch } from '../marker-search.ts';
import { schemaTypes, typedJson } from '../schema-types.ts';
import type { ToolFunction } from '../tool-definition.ts';
import type { CallReader, CallSink, ToolDialect } from '../tool-dialect.ts';

const CALL = '<tool_call>';
const FUNCTION = '<function=';
const FUNCTION_END = '</function>';
const PARAMETER = '<parameter=';
const PARAMETER_END = '</parameter>';

/**
 * Nemotron 3 and Qwen's coder models: `<tool_call>`, `<function=name>`, for each argument `<parameter=key>`, the value on
 * lines of its own and `</parameter>`, then `</function>` and `</tool_call>`. Values are plain text: the function's schema
 * says which are numbers, objects and so on. Models leave the outer tags out at times.
 */
export const qwen3Xml: ToolDialect = {
  name: 'qwen3_xml',
  markers: [CALL, FUNCTION],
  endMarker: '</tool_call>',
  reader: (marker, sink, tools) => new FunctionReader(sink, tools, marker === FUNCTION),
  frame: (name) => ({
    begin: `${CALL}\n${FUNCTION}${name}>\n`,
    arguments: 'xml',
    end: `${FUNCTION_END}\n</tool_call>`,
  }),
};

type Place = 'function' | 'name' | 'parameterOrEnd' | 'key' | 'value';

class FunctionReader implements CallReader {
  readonly #sink: CallSink;
  readonly #tools: readonly ToolFunction[];
  #place: Place;
  /** The tag, name or key so far. */
  #text = '';
  #schema: JsonObject | undefined;
  readonly #keys = new Set<string>();
  #value: ValueReader | undefined;

  constructor(sink: CallSink, tools: readonly ToolFunction[], isInFunction: boolean) {
    this.#sink = sink;
    this.#tools = tools;
    this.#place = isInFunction ? 'name' : 'function';
  }

  push(char: string): Scan {
    switch (this.#place) {
      case 'function':
        return this.#inTag(char, [FUNCTION]) === undefined ? this.#scan : this.#goTo('name');
      case 'name':
        return this.#inName(char, (name) => this.#open(name));
      case 'parameterOrEnd': {
        const tag = this.#inTag(char, [PARAMETER, FUNCTION_END]);
        if (tag === undefined) return this.#scan;
        if (tag === PARAMETER) return this.#goTo('key');
        this.#sink.arguments(this.#keys.size === 0 ? '{}' : '}');
        this.#sink.close();
        return 'end';
      }
      case 'key':
        return this.#inName(char, (key) => this.#openValue(key));
      case 'value':
        return this.#inValue(char);
    }
  }

  /** Whether the last character was part of a tag, after {@link #inTag} found none that is whole. */
  #scan: Scan = 'more';

  /** The tag that a character completes, if one of these does. */
  #inTag(char: string, tags: readonly string[]): string | undefined {
    this.#scan = 'more';
    if (this.#text === '' && /\s/.test(char)) return undefined;
    this.#text += char;
    if (!tags.some((tag) => tag.startsWith(this.#text))) this.#scan = 'error';
    return tags.find((tag) => tag === this.#text);
  }

  #inName(char: string, use: (name: string) => Scan): Scan {
    if (char === '>') {
      const name = this.#text.trim();
      return name === '' ? 'error' : use(name);
    }
    this.#text += char;
    return char === '<' || char === '\n' ? 'error' : 'more';
  }

  #open(name: string): Scan {
    this.#schema = this.#tools.find((tool) => tool.name === name)?.parameters;
    this.#sink.open(name);
    return this.#goTo('parameterOrEnd');
  }

  #openValue(key: string): Scan {
    if (this.#keys.has(key)) return 'error';
    this.#sink.arguments(`${this.#keys.size === 0 ? '{' : ', '}${JSON.stringify(key)}: `);
    this.#keys.add(key);
    const types = schemaTypes(this.#schema, key);
    this.#value = new ValueReader(types, (json) => this.#sink.arguments(json));
    return this.#goTo('value');
  }

  #inValue(char: string): Scan {
    return this.#value?.push(char) ? this.#goTo('parameterOrEnd') : 'more';
  }

  #goTo(place: Place): Scan {
    this.#place = place;
    this.#text = '';
    return 'more';
  }
}

/** Reads a value up to its end tag. Texts are written as they come, other values when they are whole. */
class ValueReader {
  readonly #types: ReadonlySet<string>;
  readonly #write: (json: string) => void;
  readonly #search = new MarkerSearch([PARAMETER_END]);
  #isFirst = true;
  /** Text that is not written yet. */
  #text = '';

  constructor(types: ReadonlySet<string>, write: (json: string) => void) {
    this.#types = types;
    this.#write = write;
    if (this.#isText) write('"');
  }

  /** Whether the character ends the value. */
  push(char: string): boolean {
    const { text, marker } = this.#search.push(char);
    if (text !== '') {
      // The value's line begins after one line end, and ends before one.
      this.#text += this.#isFirst && text.startsWith('\n') ? text.slice(1) : text;
      this.#isFirst = false;
    }
    if (marker !== undefined) this.#end();
    else if (this.#isText) this.#writeAllBut(/\n$/.test(this.#text) ? 1 : 0);
    return marker !== undefined;
  }

  #end(): void {
    const text = this.#text.replace(/\n$/, '');
    if (this.#isText) {
      this.#text = text;
      this.#writeAllBut(0);
      this.#write('"');
    } else {
      this.#write(typedJson(text, this.#types));
    }
  }

  #writeAllBut(count: number): void {
    const end = this.#text.length - count;
    if (end > 0) this.#write(JSON.stringify(this.#text.slice(0, end)).slice(1, -1));
    this.#text = this.#text.slice(end);
  }

  get #isText(): boolean {
    return this.#types.size === 1 && this.#types.has('string');
  }
}
