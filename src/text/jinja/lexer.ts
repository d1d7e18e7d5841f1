import { SPACE, strip } from './strings.ts';
import { Float, normal, TemplateError, type Value } from './values.ts';

/** A token of a template. */
export interface Token {
  readonly type: TokenType;
  /** The value of a text, name or operator; the source of a number. */
  readonly value: string;
  /** Value of a number token. */
  readonly number?: Value;
  readonly line: number;
}

export type TokenType =
  | 'data'
  | 'variable begin'
  | 'variable end'
  | 'block begin'
  | 'block end'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator'
  | 'end';

/** The next tag of any kind, raw blocks first. */
const TAG = new RegExp(
  `\\{%(?<rawSign>[-+]?)[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})|(?<open>\\{\\{|\\{%|\\{#)(?<sign>[-+]?)`,
  'g',
);
const END_RAW = new RegExp(`\\{%(?<sign>[-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`, 'g');
const END_COMMENT = new RegExp(`\\+#\\}|-#\\}[${SPACE}]*|#\\}\\n?`, 'g');
const END_BLOCK = new RegExp(`\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?`, 'y');
const END_VARIABLE = new RegExp(`-\\}\\}[${SPACE}]*|\\}\\}`, 'y');

const WHITESPACE = new RegExp(`[${SPACE}]+`, 'y');
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{ID_Start}_]\p{ID_Continue}*/uy;
const STRING = /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy;
const CODE_TOKENS: readonly (readonly [TokenType, RegExp])[] = [
  ['float', FLOAT],
  ['integer', INTEGER],
  ['name', NAME],
  ['string', STRING],
];
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;

const CLOSES: Readonly<Record<string, string>> = { '{': '}', '(': ')', '[': ']' };

/**
 * The tokens of a template, with white space as transformers sets it up: a line end after a block is dropped
 * (trim_blocks), and so are spaces before a block that begins its line (lstrip_blocks), and the template's last line
 * end.
 * @throws TemplateError with the line.
 */
export function lex(template: string): Token[] {
  return new Lexer(template).tokens();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #position = 0;
  #counted = 0;
  #line = 1;
  /** Whether the current position begins a line of the template. */
  #lineStarts = true;

  constructor(template: string) {
    const source = template.replace(/\r\n?/g, '\n');
    this.#source = source.endsWith('\n') ? source.slice(0, -1) : source;
  }

  tokens(): Token[] {
    for (;;) {
      TAG.lastIndex = this.#position;
      const tag = TAG.exec(this.#source);
      if (tag === null) break;
      const { open, sign = '', rawSign } = tag.groups ?? {};
      const text = this.#source.slice(this.#position, tag.index);
      this.#data(text, open === undefined ? (rawSign ?? '') : sign, open !== '{{');
      this.#move(tag.index + tag[0].length);
      if (open === undefined) this.#raw();
      else if (open === '{#') this.#comment();
      else this.#code(open === '{{' ? 'variable' : 'block');
    }
    this.#push('data', this.#source.slice(this.#position));
    this.#move(this.#source.length);
    this.#push('end', '');
    return this.#tokens;
  }

  /** Text before a tag. */
  #data(text: string, sign: string, isBlock: boolean): void {
    let kept = text;
    if (sign === '-') kept = strip(text, null, false);
    else if (sign !== '+' && isBlock) {
      const start = text.lastIndexOf('\n') + 1;
      if ((start > 0 || this.#lineStarts) && ONLY_SPACE.test(text.slice(start))) kept = text.slice(0, start);
    }
    this.#push('data', kept);
  }

  #raw(): void {
    END_RAW.lastIndex = this.#position;
    const end = END_RAW.exec(this.#source);
    if (end === null) this.#fail('Missing end of raw directive');
    this.#data(this.#source.slice(this.#position, end.index), end.groups?.sign ?? '', true);
    this.#move(end.index + end[0].length);
  }

  #comment(): void {
    END_COMMENT.lastIndex = this.#position;
    const end = END_COMMENT.exec(this.#source);
    if (end === null) this.#fail('Missing end of comment tag');
    this.#move(end.index + end[0].length);
  }

  #code(kind: 'variable' | 'block'): void {
    this.#push(`${kind} begin`, '');
    const end = kind === 'variable' ? END_VARIABLE : END_BLOCK;
    const open: string[] = [];
    while (this.#position < this.#source.length) {
      if (open.length === 0 && this.#take(end) !== undefined) {
        this.#push(`${kind} end`, '');
        return;
      }
      if (this.#take(WHITESPACE) === undefined) this.#codeToken(open);
    }
    // The parser reports what was expected.
  }

  #codeToken(open: string[]): void {
    for (const [type, pattern] of CODE_TOKENS) {
      const text = this.#take(pattern);
      if (text === undefined) continue;
      const number = text.replaceAll('_', '');
      if (type === 'float') this.#push(type, text, new Float(Number(number)));
      else if (type === 'integer') this.#push(type, text, normal(BigInt(number)));
      else this.#push(type, type === 'string' ? this.#unescaped(text.slice(1, -1)) : text);
      return;
    }
    this.#operator(open);
  }

  #operator(open: string[]): void {
    const operator = this.#take(OPERATOR);
    if (operator === undefined) {
      this.#fail(`unexpected char ${JSON.stringify(this.#source[this.#position])} at ${this.#position}`);
    }
    if (operator in CLOSES) open.push(CLOSES[operator]);
    else if ('})]'.includes(operator)) {
      const expected = open.pop();
      if (expected === undefined) this.#fail(`unexpected '${operator}'`);
      if (expected !== operator) this.#fail(`unexpected '${operator}', expected '${expected}'`);
    }
    this.#push('operator', operator);
  }

  #unescaped(text: string): string {
    return text.replace(ESCAPE, (whole, long?: string, octal?: string) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      if (long !== undefined) {
        const code = Number.parseInt(long.slice(1), 16);
        if (code > 0x10ffff) this.#fail('illegal Unicode character');
        return String.fromCodePoint(code);
      }
      const letter = whole[1];
      if ('xuUN'.includes(letter)) this.#fail(`truncated \\${letter} escape`);
      return SIMPLE_ESCAPES[letter] ?? whole;
    });
  }

  /** The text that matches here; the position moves past it. */
  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#source)?.[0];
    if (match !== undefined) this.#move(this.#position + match.length);
    return match;
  }

  #push(type: TokenType, value: string, number?: Value): void {
    if (type === 'data' && value === '') return;
    this.#tokens.push({ type, value, line: this.#lineHere(), ...(number !== undefined && { number }) });
  }

  #move(position: number): void {
    this.#lineStarts = position > 0 && this.#source[position - 1] === '\n';
    this.#position = position;
  }

  #lineHere(): number {
    for (; this.#counted < this.#position; this.#counted++) {
      if (this.#source.charCodeAt(this.#counted) === 10) this.#line++;
    }
    return this.#line;
  }

  #fail(problem: string): never {
    throw new TemplateError(problem, this.#lineHere());
  }
}

const ONLY_SPACE = new RegExp(`^[${SPACE}]+$`);

const ESCAPE = /\\(?:(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8})|([0-7]{1,3})|.)/gsu;
const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};
