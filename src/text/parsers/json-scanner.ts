/**
 * What a character is to a JSON value: part of it (`more`), its last one (`end`), the first after a number (`past`), or
 * a mistake (`error`).
 */
export type Scan = 'more' | 'end' | 'past' | 'error';

type Expected = 'value' | 'valueOrClose' | 'key' | 'keyOrClose' | 'colon' | 'commaOrClose';

const SPACE = /\s/;
const SCALAR = /[\w.+-]/;
const JSON_SCALAR = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/;
const PYTHON_WORDS: ReadonlyMap<string, string> = new Map([
  ['True', 'true'],
  ['False', 'false'],
  ['None', 'null'],
]);

/**
 * Reads one JSON value character by character, and writes it as JSON again. It mends what models do and `JSON.parse`
 * refuses: line ends and other control characters inside strings, and Python's way of writing (single quotes, True,
 * False, None), which some prompts show as an example.
 */
export class JsonScanner {
  #written = '';
  readonly #closers: ('}' | ']')[] = [];
  #expected: Expected = 'value';
  /** The quote that ends the current string. */
  #quote: string | undefined;
  #isKey = false;
  /** What follows a backslash so far, the backslash included. */
  #escape = '';
  /** Characters of a number or a word so far. */
  #scalar = '';

  /** The JSON since the last call. It is whole up to the current character, except inside escapes and scalars. */
  take(): string {
    const written = this.#written;
    this.#written = '';
    return written;
  }

  push(char: string): Scan {
    if (this.#quote !== undefined) return this.#inString(char);
    if (this.#scalar !== '') {
      if (SCALAR.test(char)) {
        this.#scalar += char;
        return 'more';
      }
      if (!this.#endScalar()) return 'error';
      if (this.#closers.length === 0) return 'past';
    }
    if (SPACE.test(char)) {
      this.#written += char;
      return 'more';
    }
    return this.#between(char);
  }

  /** Whether the text may end here: only a number or a word outside of everything has no end of its own. */
  flush(): boolean {
    return this.#closers.length === 0 && this.#scalar !== '' && this.#endScalar();
  }

  /** A character outside of strings and scalars. */
  #between(char: string): Scan {
    const expected = this.#expected;
    if (expected === 'colon') return char === ':' ? this.#write(char, 'value') : 'error';
    if (expected === 'commaOrClose' && char === ',') {
      return this.#write(char, this.#closers.at(-1) === '}' ? 'key' : 'value');
    }
    const mayClose = expected === 'commaOrClose' || expected === 'valueOrClose' || expected === 'keyOrClose';
    if (mayClose && char === this.#closers.at(-1)) {
      this.#closers.pop();
      this.#written += char;
      return this.#endValue();
    }
    if (expected === 'commaOrClose') return 'error';
    this.#isKey = expected === 'key' || expected === 'keyOrClose';
    if (char === '"' || char === "'") {
      this.#quote = char;
      this.#written += '"';
      return 'more';
    }
    if (this.#isKey) return 'error';
    if (char === '{') {
      this.#closers.push('}');
      return this.#write(char, 'keyOrClose');
    }
    if (char === '[') {
      this.#closers.push(']');
      return this.#write(char, 'valueOrClose');
    }
    if (!SCALAR.test(char)) return 'error';
    this.#scalar = char;
    return 'more';
  }

  #inString(char: string): Scan {
    if (this.#escape !== '') return this.#inEscape(char);
    if (char === this.#quote) {
      this.#quote = undefined;
      this.#written += '"';
      if (!this.#isKey) return this.#endValue();
      this.#expected = 'colon';
      return 'more';
    }
    if (char === '\\') this.#escape = char;
    else if (char === '"' || char < ' ') this.#written += JSON.stringify(char).slice(1, -1);
    else this.#written += char;
    return 'more';
  }

  #inEscape(char: string): Scan {
    const read = this.#escape + char;
    if (read === "\\'") this.#written += "'";
    else if (/^\\["\\/bfnrt]$/.test(read) || /^\\u[\da-fA-F]{4}$/.test(read)) this.#written += read;
    else if (/^\\u[\da-fA-F]{0,3}$/.test(read)) {
      this.#escape = read;
      return 'more';
    } else return 'error';
    this.#escape = '';
    return 'more';
  }

  #endScalar(): boolean {
    const json = PYTHON_WORDS.get(this.#scalar) ?? this.#scalar;
    this.#scalar = '';
    if (!JSON_SCALAR.test(json)) return false;
    this.#written += json;
    this.#expected = 'commaOrClose';
    return true;
  }

  #endValue(): Scan {
    this.#expected = 'commaOrClose';
    return this.#closers.length === 0 ? 'end' : 'more';
  }

  #write(char: string, expected: Expected): Scan {
    this.#written += char;
    this.#expected = expected;
    return 'more';
  }
}
