import { StructuredOutputsError } from '../../errors.ts';
import { type CodePoints, complement, isExpressible, ROOT, union } from './ebnf.ts';
import { choiceOf, EMPTY, type Expression, sequenceOf } from './expression.ts';

/** Nesting above which a grammar is refused: it would end the stack. */
const MAX_DEPTH = 500;

/** Above it a repetition is longer than any answer. */
const MAX_REPETITIONS = 100_000;

const ESCAPES: Readonly<Record<string, number>> = {
  n: 0x0a,
  r: 0x0d,
  t: 0x09,
  f: 0x0c,
  v: 0x0b,
  a: 0x07,
  b: 0x08,
  e: 0x1b,
  0: 0,
};

const NAME = /[A-Za-z_.-][A-Za-z0-9_.-]*/y;
const RULE_BEGIN = /[A-Za-z_.-][A-Za-z0-9_.-]*[ \t]*::=/y;
const SPACE = /(?:[ \t\r\n]|#[^\r\n]*)*/y;
const NUMBER = /[ \t\r\n]*([0-9]{1,9})[ \t\r\n]*/y;
const HEX: Readonly<Record<string, RegExp>> = {
  x: /[0-9a-fA-F]{1,6}/y,
  u: /[0-9a-fA-F]{4}/y,
  U: /[0-9a-fA-F]{8}/y,
};

/**
 * Rules of a grammar in XGrammar's EBNF, by their names. Its lookahead assertions are no part of the language: they are dropped.
 * @throws StructuredOutputsError about what is malformed, or rules that are missing.
 */
export function parseEbnf(text: string): ReadonlyMap<string, Expression> {
  return new EbnfParser(text).parse();
}

class EbnfParser {
  readonly #text: string;
  readonly #rules = new Map<string, Expression>();
  /** Rules that are referred to, with where that is. */
  readonly #references = new Map<string, number>();
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): ReadonlyMap<string, Expression> {
    this.#space();
    while (this.#at < this.#text.length) this.#rule();
    if (!this.#rules.has(ROOT)) throw this.#malformed(`it has no rule '${ROOT}'`);
    for (const [name, place] of this.#references) {
      if (!this.#rules.has(name)) throw this.#malformed(`there is no rule '${name}'`, place);
    }
    return this.#rules;
  }

  #rule(): void {
    const name = this.#matched(NAME) ?? '';
    this.#space();
    if (name === '' || !this.#takes('::=')) throw this.#malformed("expected a rule: a name and '::='");
    if (this.#rules.has(name)) throw this.#malformed(`the rule '${name}' is there twice`);
    const expression = this.#choice();
    this.#space();
    if (this.#takes('(=')) {
      this.#choice();
      this.#expect(')');
    }
    this.#rules.set(name, expression);
    this.#space();
  }

  #choice(): Expression {
    if (++this.#depth > MAX_DEPTH) throw this.#malformed(`groups are nested more than ${MAX_DEPTH} deep`);
    const parts: Expression[] = [];
    do parts.push(this.#limited());
    while (this.#takes('|'));
    this.#depth--;
    return choiceOf(parts);
  }

  /** Ours alone: `a & b` is what both are, `a &! b` what is a but not b. */
  #limited(): Expression {
    let limited = this.#sequence();
    while (this.#takes('&')) {
      const type = this.#takes('!') ? 'except' : 'both';
      limited = { type, parts: [limited, this.#sequence()] };
    }
    return limited;
  }

  #sequence(): Expression {
    const parts: Expression[] = [];
    for (this.#space(); !this.#isEnd(); this.#space()) parts.push(this.#repetition());
    return sequenceOf(parts);
  }

  #isEnd(): boolean {
    const { length } = this.#text;
    if (this.#at >= length || '|)&'.includes(this.#text[this.#at]) || this.#text.startsWith('(=', this.#at))
      return true;
    RULE_BEGIN.lastIndex = this.#at;
    return RULE_BEGIN.test(this.#text);
  }

  #repetition(): Expression {
    const part = this.#element();
    this.#space();
    if (this.#takes('*')) return { type: 'repeat', part, min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#takes('+')) return { type: 'repeat', part, min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#takes('?')) return { type: 'repeat', part, min: 0, max: 1 };
    if (!this.#takes('{')) return part;
    const min = this.#count();
    const max = this.#takes(',') ? (this.#text[this.#at] === '}' ? Number.POSITIVE_INFINITY : this.#count()) : min;
    this.#expect('}');
    if (min > max) throw this.#malformed(`a repetition of {${min},${max}} has more at the least than at the most`);
    return { type: 'repeat', part, min, max };
  }

  #count(): number {
    const count = Number(this.#matched(NUMBER));
    this.#space();
    if (Number.isInteger(count) && count <= MAX_REPETITIONS) return count;
    throw this.#malformed(`expected a number of repetitions up to ${MAX_REPETITIONS}`);
  }

  #element(): Expression {
    if (this.#takes('(')) {
      const inner = this.#choice();
      this.#space();
      this.#expect(')');
      return inner;
    }
    if (this.#takes('"')) return this.#literal();
    if (this.#takes('[')) return this.#class();
    const place = this.#at;
    const name = this.#matched(NAME);
    if (name === undefined) throw this.#malformed(`expected a text, class, group or rule`);
    if (/^(Token)?TagDispatch$/.test(name)) throw this.#malformed(`'${name}' is not supported: use a structural tag`);
    if (!this.#references.has(name)) this.#references.set(name, place);
    return { type: 'rule', name };
  }

  #literal(): Expression {
    let text = '';
    while (!this.#takes('"')) {
      if (/^[\r\n]?$/.test(this.#text[this.#at] ?? '')) throw this.#malformed('a text has no end');
      text += String.fromCodePoint(this.#character());
    }
    return text === '' ? EMPTY : { type: 'text', text };
  }

  #class(): Expression {
    const isNegated = this.#takes('^');
    const ranges: CodePoints[] = [];
    while (!this.#takes(']')) {
      if (/^[\r\n]?$/.test(this.#text[this.#at] ?? '')) throw this.#malformed('a class has no end');
      const first = this.#character();
      const isRange = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']';
      if (isRange) this.#at++;
      const last = isRange ? this.#character() : first;
      if (first > last) throw this.#malformed('a class has a range that ends before it begins');
      ranges.push([first, last]);
    }
    const all = isNegated ? complement(ranges) : union(ranges);
    if (isExpressible(all)) return { type: 'class', ranges: all };
    throw this.#malformed('a class has some, but not all characters beyond ASCII, and more than 256 of them');
  }

  /** A character of a text or class, as it is or escaped. */
  #character(): number {
    if (!this.#takes('\\')) return this.#next();
    const character = String.fromCodePoint(this.#next());
    if (Object.hasOwn(ESCAPES, character)) return ESCAPES[character];
    if (!Object.hasOwn(HEX, character)) {
      if (/[A-Za-z1-9]/.test(character)) throw this.#malformed(`'\\${character}' is not supported`);
      return character.codePointAt(0) ?? 0;
    }
    const point = Number.parseInt(this.#matched(HEX[character]) ?? '', 16);
    if (point <= 0x10ffff) return point;
    throw this.#malformed(`'\\${character}' needs the number of a character, in hexadecimal digits`);
  }

  #next(): number {
    const point = this.#text.codePointAt(this.#at) ?? 0;
    this.#at += point > 0xffff ? 2 : 1;
    return point;
  }

  #space(): void {
    this.#matched(SPACE);
  }

  #matched(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found ? (found[1] ?? found[0]) : undefined;
  }

  #takes(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #expect(text: string): void {
    if (!this.#takes(text)) throw this.#malformed(`expected '${text}'`);
  }

  #malformed(problem: string, place = this.#at): StructuredOutputsError {
    const before = this.#text.slice(0, place).split('\n');
    return new StructuredOutputsError(
      `The grammar can't be compiled: line ${before.length}, column ${(before.at(-1) ?? '').length + 1}: ${problem}.`,
    );
  }
}
