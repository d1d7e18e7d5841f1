import { StructuredOutputsError } from '../../errors.ts';

/** Limits for a grammar, so that no request holds a thread, or fills its memory, for long. */
const MAX_RULES = 20_000;
const MAX_CHARACTERS = 2 ** 21;

/** A grammar in XGrammar's EBNF that grows rule by rule. */
export class EbnfGrammar {
  readonly #rules = new Map<string, string>();
  /** Names of rules by what they say, so that equal parts share one. */
  readonly #names = new Map<string, string>();
  #characters = 0;

  /** Name of a rule that says this; the same for the same. */
  rule(expression: string, hint = 'r'): string {
    const known = this.#names.get(expression);
    if (known !== undefined) return known;
    const name = this.reserve(hint);
    this.#names.set(expression, name);
    this.define(name, expression);
    return name;
  }

  /** A new name, for a rule that refers to itself: `define` says what it is. */
  reserve(hint: string): string {
    const name = hint === ROOT ? ROOT : `${hint}_${this.#rules.size}`;
    this.#rules.set(name, '');
    if (this.#rules.size > MAX_RULES) throw tooLarge();
    return name;
  }

  define(name: string, expression: string): void {
    this.#characters += name.length + expression.length;
    if (this.#characters > MAX_CHARACTERS) throw tooLarge();
    this.#rules.set(name, expression);
  }

  toString(): string {
    return [...this.#rules].map(([name, expression]) => `${name} ::= ${expression}\n`).join('');
  }
}

/** Name of the rule that a grammar begins with. */
export const ROOT = 'root';

/** Expression for a text, in quotes. @throws StructuredOutputsError about half a surrogate pair, which is no text. */
export function literal(text: string): string {
  if (text === '') return '""';
  return `"${Array.from(text, (character) => escaped(codePointOf(character))).join('')}"`;
}

/** Expression for one of several; an empty list has none. */
export function oneOf(expressions: readonly string[]): string {
  const [first] = expressions;
  return expressions.length === 1 ? first : `(${expressions.join(' | ')})`;
}

/** A range of code points, both ends included. */
export type CodePoints = readonly [first: number, last: number];

const LAST_CODE_POINT = 0x10ffff;
const SURROGATES: CodePoints = [0xd800, 0xdfff];

/** Code points in order, without overlaps. */
export function union(ranges: readonly CodePoints[]): CodePoints[] {
  const merged: CodePoints[] = [];
  for (const [first, last] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const previous = merged.at(-1);
    if (previous && first <= previous[1] + 1) merged[merged.length - 1] = [previous[0], Math.max(previous[1], last)];
    else merged.push([first, last]);
  }
  return merged;
}

/** Code points that are not among these. */
export function complement(ranges: readonly CodePoints[]): CodePoints[] {
  const left: CodePoints[] = [];
  let next = 0;
  for (const [first, last] of union(ranges)) {
    if (first > next) left.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST_CODE_POINT) left.push([next, LAST_CODE_POINT]);
  return left;
}

/** Code points of the first list that are not among the second. */
export function without(ranges: readonly CodePoints[], excluded: readonly CodePoints[]): CodePoints[] {
  return complement(union([...complement(ranges), ...excluded]));
}

const ASCII: CodePoints = [0, 0x7f];
/** Characters beyond ASCII that are written one by one. */
const MAX_LISTED = 256;

/** Characters as a grammar can have them: of those beyond ASCII it knows all together, or single ones. */
export interface Letters {
  readonly ascii: readonly CodePoints[];
  readonly listed: readonly number[];
  /** Whether all characters beyond ASCII are among them. */
  readonly isOpen: boolean;
}

/** Whether a grammar can have these characters, and no others. */
export function isExpressible(ranges: readonly CodePoints[]): boolean {
  const { listed, isOpen } = lettersOf(ranges);
  return isOpen || listed.length > 0 || without(ranges, [ASCII, SURROGATES]).length === 0;
}

/** Characters of ranges. Of those beyond ASCII there are none where there are too many, but not all. */
export function lettersOf(ranges: readonly CodePoints[]): Letters {
  const ascii = without(ranges, complement([ASCII]));
  const beyond = without(ranges, [ASCII, SURROGATES]);
  const isOpen = beyond.length > 0 && without(complement([ASCII, SURROGATES]), beyond).length === 0;
  const count = beyond.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const isListed = !isOpen && count <= MAX_LISTED;
  return { ascii, listed: isListed ? beyond.flatMap(([first, last]) => pointsBetween(first, last)) : [], isOpen };
}

/** One character. */
export function letterOf(point: number): Letters {
  return point <= ASCII[1]
    ? { ascii: [[point, point]], listed: [], isOpen: false }
    : { ascii: [], listed: [point], isOpen: false };
}

/**
 * Expression for one character of these; undefined where there is none. XGrammar knows characters beyond ASCII only all together
 * or one by one. Where neither will do, those of ASCII stand for all.
 */
export function characterClass(ranges: readonly CodePoints[]): string | undefined {
  const { ascii, listed, isOpen } = lettersOf(ranges);
  const all = [...classText(ascii, isOpen), ...listed.map((point) => literal(String.fromCodePoint(point)))];
  return all.length === 0 ? undefined : oneOf(all);
}

/** Expressions, of which one character has one: of ASCII, and all others or none of them. */
export function classText(ascii: readonly CodePoints[], isOpen: boolean): readonly string[] {
  if (!isOpen) return ascii.length === 0 ? [] : [`[${classMembers(ascii)}]`];
  const excluded = without([ASCII], ascii);
  return excluded.length === 0 ? ['[\\x00-\\x7f]', '[^\\x00-\\x7f]'] : [`[^${classMembers(excluded)}]`];
}

function classMembers(ranges: readonly CodePoints[]): string {
  return ranges
    .map(([first, last]) => (first === last ? escaped(first) : `${escaped(first)}-${escaped(last)}`))
    .join('');
}

function pointsBetween(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** Expression for `min` to `max` repetitions. */
export function repeated(expression: string, min: number, max: number): string {
  if (max === 0) return '""';
  if (min === 1 && max === 1) return expression;
  const [low, high] = [min === 0 && max === 1, max === Number.POSITIVE_INFINITY];
  if (low) return `(${expression})?`;
  if (high && min <= 1) return `(${expression})${min === 0 ? '*' : '+'}`;
  return `(${expression}){${min},${high ? '' : max}}`;
}

function codePointOf(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  if (point < SURROGATES[0] || point > SURROGATES[1]) return point;
  const found = point.toString(16).toUpperCase();
  throw new StructuredOutputsError(`A text has half of a surrogate pair, U+${found}, which UTF-8 can't express.`);
}

/** A code point in a literal or class: letters and digits as they are, all others by number. */
function escaped(point: number): string {
  const character = String.fromCodePoint(point);
  if (/[A-Za-z0-9 ]/.test(character)) return character;
  return point > 0xffff ? `\\U${point.toString(16).padStart(8, '0')}` : `\\u${point.toString(16).padStart(4, '0')}`;
}

function tooLarge(): StructuredOutputsError {
  return new StructuredOutputsError(
    `The form needs a grammar of more than ${MAX_RULES} rules or ${MAX_CHARACTERS} characters.`,
    'Make it smaller: fewer or shorter alternatives, and fewer repetitions.',
  );
}
