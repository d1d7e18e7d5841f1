/** Any value of a JSON file. Numbers may be infinite or NaN, as Python writes them. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
/** A JSON object. Read keys with Object.hasOwn: files may hold keys such as `constructor` or `__proto__`. */
export interface JsonObject {
  [key: string]: JsonValue;
}

/** A mistake in a JSON text, and its UTF-16 index. */
export class JsonSyntaxError extends SyntaxError {
  readonly index: number;

  constructor(problem: string, index: number) {
    super(problem);
    this.index = index;
  }
}

/** Differences of the parser from JSON.parse. */
export interface JsonParserOptions {
  /** Accept the bare words Infinity, -Infinity and NaN, as Python's json module writes them. */
  readonly allowNonFinite: boolean;
  /** Reject an object that has a key twice; JSON.parse would keep the last one silently. */
  readonly rejectDuplicateKeys: boolean;
}

/** Limit for nesting, above that of any real file: a hostile file must not overflow the stack. */
const MAX_DEPTH = 200;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const NON_FINITE: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/** Whether a valid JSON text nests no deeper than the parser allows. JSON.parse has no limit, but what reads values has. */
export function isShallow(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > MAX_DEPTH) return false;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
  return true;
}

/** Index of the quote that closes the string which begins at `start`; -1 where none does. */
function endOfString(text: string, start: number): number {
  let end = start;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return end;
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
  }
}

/** Recursive descent over RFC 8259, because JSON.parse knows neither Python's numbers nor duplicate keys. */
export class JsonParser {
  readonly #text: string;
  readonly #options: JsonParserOptions;
  #index = 0;
  #depth = 0;

  constructor(text: string, options: JsonParserOptions) {
    this.#text = text;
    this.#options = options;
  }

  /** The whole text as one value. Throws JsonSyntaxError. */
  parse(): JsonValue {
    this.#skipSpace();
    const value = this.#value();
    this.#skipSpace();
    if (this.#index < this.#text.length) this.#fail('expected the end of the file');
    return value;
  }

  #value(): JsonValue {
    switch (this.#text[this.#index]) {
      case '{':
        return this.#nested(() => this.#object());
      case '[':
        return this.#nested(() => this.#array());
      case '"':
        return this.#string();
      case undefined:
        return this.#fail('the file ends where a value was expected');
      default:
        return this.#word();
    }
  }

  #nested<T>(parse: () => T): T {
    if (++this.#depth > MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH} levels`);
    this.#index++;
    const value = parse();
    this.#depth--;
    return value;
  }

  #object(): JsonObject {
    const object: JsonObject = {};
    this.#skipSpace();
    if (this.#take('}')) return object;
    do {
      this.#skipSpace();
      const start = this.#index;
      if (this.#text[start] !== '"') this.#fail('expected a key in double quotes');
      const key = this.#string();
      if (this.#options.rejectDuplicateKeys && Object.hasOwn(object, key)) {
        this.#index = start;
        this.#fail(`the key ${JSON.stringify(key)} occurs twice in one object`);
      }
      this.#skipSpace();
      if (!this.#take(':')) this.#fail("expected ':' after the key");
      this.#skipSpace();
      const value = this.#value();
      // Plain assignment to `__proto__` would set the prototype instead of a key.
      if (key === '__proto__') {
        Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      } else object[key] = value;
      this.#skipSpace();
    } while (this.#take(','));
    if (!this.#take('}')) this.#fail("expected ',' or '}' in an object");
    return object;
  }

  #array(): JsonValue[] {
    const array: JsonValue[] = [];
    this.#skipSpace();
    if (this.#take(']')) return array;
    do {
      this.#skipSpace();
      array.push(this.#value());
      this.#skipSpace();
    } while (this.#take(','));
    if (!this.#take(']')) this.#fail("expected ',' or ']' in an array");
    return array;
  }

  #string(): string {
    const start = this.#index;
    const end = endOfString(this.#text, start);
    if (end < 0) this.#fail('this string has no closing quote');
    this.#index = end + 1;
    try {
      return JSON.parse(this.#text.slice(start, end + 1)) as string;
    } catch {
      this.#index = start;
      return this.#fail('this string holds a bad escape or a control character');
    }
  }

  #word(): JsonValue {
    for (const [word, value] of [['true', true] as const, ['false', false] as const, ['null', null] as const]) {
      if (this.#takeWord(word)) return value;
    }
    if (this.#options.allowNonFinite) {
      for (const [word, value] of Object.entries(NON_FINITE)) if (this.#takeWord(word)) return value;
    }
    NUMBER.lastIndex = this.#index;
    const digits = NUMBER.exec(this.#text)?.[0];
    if (digits === undefined) return this.#fail('expected a value');
    this.#index += digits.length;
    return Number(digits);
  }

  #takeWord(word: string): boolean {
    if (!this.#text.startsWith(word, this.#index)) return false;
    this.#index += word.length;
    return true;
  }

  #take(character: string): boolean {
    if (this.#text[this.#index] !== character) return false;
    this.#index++;
    return true;
  }

  #skipSpace(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#index);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#index++;
    }
  }

  #fail(problem: string): never {
    throw new JsonSyntaxError(problem, this.#index);
  }
}
