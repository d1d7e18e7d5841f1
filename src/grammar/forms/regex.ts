import { StructuredOutputsError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import { type CodePoints, characterClass, complement, oneOf, repeated, union } from './ebnf.ts';

/** Writes one character out of a set, as it stands in the text; undefined where the text can have none of them. */
export type WriteCharacters = (ranges: readonly CodePoints[]) => string | undefined;

const DIGIT: readonly CodePoints[] = [[0x30, 0x39]];
const WORD: readonly CodePoints[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
/** White space and line ends of ASCII, as most engines but JavaScript's have them. */
const SPACE: readonly CodePoints[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
];
const LINE_ENDS: readonly CodePoints[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
];

const CLASSES: Readonly<Record<string, readonly CodePoints[]>> = {
  d: DIGIT,
  w: WORD,
  s: SPACE,
  D: complement(DIGIT),
  W: complement(WORD),
  S: complement(SPACE),
};

const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, 0: 0 };

const MAX_DEPTH = 100;
/** Above it a repetition needs more states than a grammar should have. */
const MAX_REPETITIONS = 10_000;

/**
 * Expression for the texts that a regular expression of JavaScript matches from end to end. Anchors are redundant at its ends, and
 * refused elsewhere; so is lookahead elsewhere than at the beginning.
 * @throws StructuredOutputsError for what is malformed, matches no text, or has no place in a grammar.
 */
export function regexExpression(pattern: string, write: WriteCharacters = characterClass): string {
  try {
    new RegExp(pattern, 'u');
  } catch (error) {
    throw new StructuredOutputsError(`The regular expression ${show(pattern)} is malformed: ${asError(error).message}`);
  }
  return new RegexParser(pattern, write).parse();
}

class RegexParser {
  readonly #pattern: string;
  readonly #characters: readonly string[];
  readonly #write: WriteCharacters;
  #at = 0;
  #depth = 0;

  constructor(pattern: string, write: WriteCharacters) {
    this.#pattern = pattern;
    this.#characters = [...pattern];
    this.#write = write;
  }

  parse(): string {
    const expression = this.#alternatives();
    if (expression === undefined) {
      throw new StructuredOutputsError(
        `The regular expression ${show(this.#pattern)} matches no text that is possible here.`,
      );
    }
    return expression;
  }

  /** Alternatives up to the end of the group; undefined: no text matches. */
  #alternatives(): string | undefined {
    if (++this.#depth > MAX_DEPTH) throw this.#unsupported(`groups that are nested more than ${MAX_DEPTH} deep`);
    const found: string[] = [];
    do {
      const sequence = this.#sequence();
      if (sequence !== undefined) found.push(sequence);
    } while (this.#takes('|'));
    this.#depth--;
    return found.length === 0 ? undefined : oneOf([...new Set(found)]);
  }

  #sequence(): string | undefined {
    const parts: (string | undefined)[] = [];
    const lookaheads: (string | undefined)[] = [];
    const isOutermost = this.#depth === 1;
    while (this.#at < this.#characters.length && !'|)'.includes(this.#peek())) {
      if (this.#takes('^')) {
        if (parts.length > 0 || !isOutermost) throw this.#unsupported("'^' elsewhere than at the beginning");
        continue;
      }
      if (this.#takes('$')) {
        const isLast = this.#at === this.#characters.length || this.#peek() === '|';
        if (!isLast || !isOutermost) throw this.#unsupported("'$' elsewhere than at the end");
        continue;
      }
      if (parts.length === 0 && isOutermost && this.#isLookahead()) lookaheads.push(this.#lookahead());
      else parts.push(this.#repetition());
    }
    if (parts.includes(undefined) || lookaheads.includes(undefined)) return undefined;
    const all = parts.length === 0 ? '""' : parts.join(' ');
    return lookaheads.length === 0 ? all : `((${all}) ${lookaheads.join(' ')})`;
  }

  #isLookahead(): boolean {
    return ['(?!', '(?='].includes(this.#characters.slice(this.#at, this.#at + 3).join(''));
  }

  /** What the whole text must begin with, or must not; undefined where no text does. */
  #lookahead(): string | undefined {
    const isNegative = this.#characters[this.#at + 2] === '!';
    this.#at += 3;
    const inner = this.#alternatives();
    this.#next();
    if ('*+?{'.includes(this.#peek() || ' ')) throw this.#unsupported('a lookahead that is repeated');
    const anything = `(${this.#write(complement([]))})*`;
    if (inner === undefined) return isNegative ? '' : undefined;
    return `${isNegative ? '&!' : '&'} (${inner} ${anything})`;
  }

  #repetition(): string | undefined {
    const atom = this.#atom();
    const counts = this.#quantifier();
    if (!counts) return atom;
    const [min, max] = counts;
    // Whether a quantifier is lazy changes no match from end to end.
    this.#takes('?');
    if (atom === undefined) return min === 0 ? '""' : undefined;
    if (Math.max(min, Number.isFinite(max) ? max : 0) > MAX_REPETITIONS) {
      throw this.#unsupported(`more than ${MAX_REPETITIONS} repetitions`);
    }
    return repeated(atom, min, max);
  }

  #quantifier(): readonly [number, number] | undefined {
    if (this.#takes('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.#takes('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.#takes('?')) return [0, 1];
    if (!this.#takes('{')) return undefined;
    const [min, max] = this.#upTo('}').split(',');
    if (max === undefined) return [Number(min), Number(min)];
    return [Number(min), max === '' ? Number.POSITIVE_INFINITY : Number(max)];
  }

  #atom(): string | undefined {
    const character = this.#next();
    if (character === '(') return this.#group();
    if (character === '[') return this.#write(this.#class());
    if (character === '.') return this.#write(complement(LINE_ENDS));
    if (character === '\\') return this.#write(this.#escape());
    return this.#write([single(character)]);
  }

  #group(): string | undefined {
    if (this.#takes('?') && !this.#takes(':')) {
      const isNamed = this.#takes('<') && !'=!'.includes(this.#peek());
      if (!isNamed) throw this.#unsupported('lookaround elsewhere than at the beginning, or flags');
      this.#upTo('>');
    }
    const inner = this.#alternatives();
    this.#next();
    return inner === undefined ? undefined : `(${inner})`;
  }

  #class(): readonly CodePoints[] {
    const isNegated = this.#takes('^');
    const ranges: CodePoints[] = [];
    while (!this.#takes(']')) {
      const first = this.#classMember();
      if (this.#peek() !== '-' || this.#characters[this.#at + 1] === ']') {
        ranges.push(...first);
        continue;
      }
      this.#next();
      const last = this.#classMember();
      ranges.push([first[0][0], last[0][1]]);
    }
    return isNegated ? complement(ranges) : union(ranges);
  }

  #classMember(): readonly CodePoints[] {
    const character = this.#next();
    if (character !== '\\') return [single(character)];
    if (this.#takes('b')) return [[8, 8]];
    return this.#escape();
  }

  /** What follows a backslash. */
  #escape(): readonly CodePoints[] {
    const character = this.#next();
    if (Object.hasOwn(CLASSES, character)) return CLASSES[character];
    if (Object.hasOwn(CONTROLS, character)) return [point(CONTROLS[character])];
    if (character === 'x') return [point(this.#hex(2))];
    if (character === 'c') return [point(this.#next().charCodeAt(0) % 32)];
    if (character === 'u') return [point(this.#takes('{') ? Number.parseInt(this.#upTo('}'), 16) : this.#codeUnit())];
    if (/[A-Za-z0-9]/.test(character)) throw this.#unsupported(`'\\${character}'`);
    return [single(character)];
  }

  /** A character that is written as one `\uXXXX` or as a pair of them. */
  #codeUnit(): number {
    const high = this.#hex(4);
    const isPair = high >= 0xd800 && high < 0xdc00 && this.#peek() === '\\' && this.#characters[this.#at + 1] === 'u';
    if (!isPair) return high;
    this.#at += 2;
    return String.fromCharCode(high, this.#hex(4)).codePointAt(0) ?? high;
  }

  #hex(digits: number): number {
    this.#at += digits;
    return Number.parseInt(this.#characters.slice(this.#at - digits, this.#at).join(''), 16);
  }

  #upTo(end: string): string {
    const begin = this.#at;
    while (this.#at < this.#characters.length && this.#peek() !== end) this.#at++;
    const text = this.#characters.slice(begin, this.#at).join('');
    this.#next();
    return text;
  }

  #peek(): string {
    return this.#characters[this.#at] ?? '';
  }

  #next(): string {
    return this.#characters[this.#at++] ?? '';
  }

  #takes(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #unsupported(what: string): StructuredOutputsError {
    return new StructuredOutputsError(
      `The regular expression ${show(this.#pattern)} has ${what}, which is not supported.`,
      'Classes, groups, alternatives and repetitions are.',
    );
  }
}

function single(character: string): CodePoints {
  return point(character.codePointAt(0) ?? 0);
}

function point(value: number): CodePoints {
  return [value, value];
}

function show(pattern: string): string {
  return JSON.stringify(pattern.length > 80 ? `${pattern.slice(0, 80)}…` : pattern);
}
