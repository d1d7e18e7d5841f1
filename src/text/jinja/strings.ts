import { codePoints, MAX_LENGTH, TemplateError } from './values.ts';

/**
 * White space of Python's str.isspace, as the inside of a character class; JavaScript's \s lacks some and has U+FEFF.
 */
export const SPACE = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const ALL_SPACE = new RegExp(`^[${SPACE}]+$`);
const WORDS = new RegExp(`[^${SPACE}]+`, 'g');
/** Line ends of str.splitlines. */
const LINE_END = '\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029';
const LINE_ENDS = new RegExp(`\\r\\n|[${LINE_END}]`, 'g');

/** `strip`, `lstrip` and `rstrip`. @param characters each of which is removed; null: white space. */
export function strip(text: string, characters: string | null, left = true, right = true): string {
  const units = codePoints(text);
  const taken = characters === null ? undefined : new Set(characters);
  const isTaken = (character: string) => (taken ? taken.has(character) : ALL_SPACE.test(character));
  let start = 0;
  let end = units.length;
  while (left && start < end && isTaken(units[start])) start++;
  while (right && end > start && isTaken(units[end - 1])) end--;
  return typeof units === 'string' ? units.slice(start, end) : units.slice(start, end).join('');
}

/** `split` at white space. @param most splits; below 0: all. */
export function splitAtSpaces(text: string, most: number): string[] {
  const found: string[] = [];
  for (const match of text.matchAll(WORDS)) {
    if (found.length === most) return [...found, text.slice(match.index)];
    found.push(match[0]);
  }
  return found;
}

/** `rsplit` at white space. */
export function wordsFromRight(text: string, most: number): string[] {
  const all = [...text.matchAll(WORDS)];
  if (most < 0 || all.length <= most) return all.map(([word]) => word);
  const kept = all.slice(all.length - most).map(([word]) => word);
  const last = all[all.length - most - 1];
  return [text.slice(0, last.index + last[0].length), ...kept];
}

export function split(text: string, separator: string, most: number): string[] {
  const parts = text.split(separator);
  if (most < 0 || parts.length <= most + 1) return parts;
  return [...parts.slice(0, most), parts.slice(most).join(separator)];
}

export function splitFromRight(text: string, separator: string, most: number): string[] {
  const parts: string[] = [];
  let end = text.length;
  while (most < 0 || parts.length < most) {
    const at = end < separator.length ? -1 : text.lastIndexOf(separator, end - separator.length);
    if (at < 0) break;
    parts.unshift(text.slice(at + separator.length, end));
    end = at;
  }
  return [text.slice(0, end), ...parts];
}

export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = [];
  let start = 0;
  for (const { index, 0: end } of text.matchAll(LINE_ENDS)) {
    lines.push(text.slice(start, keepEnds ? index + end.length : index));
    start = index + end.length;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

/** @param most replacements; below 0: all. */
export function replace(text: string, old: string, by: string, most: number): string {
  if (old === '') {
    // Before each character, and at the end.
    const characters = [...text];
    assertShort(text.length + characters.length * by.length);
    const count = most < 0 ? characters.length + 1 : Math.min(most, characters.length + 1);
    const begun = characters.map((character, i) => (i < count ? by : '') + character).join('');
    return count > characters.length ? begun + by : begun;
  }
  const parts = split(text, old, most);
  assertShort(text.length + parts.length * by.length);
  return parts.join(by);
}

function assertShort(length: number): void {
  if (length > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
}

export function capitalize(text: string): string {
  const [first = ''] = text;
  return titled(first) + text.slice(first.length).toLowerCase();
}

/** Title case of a letter: 'ß' becomes 'Ss'. */
function titled(character: string): string {
  const [first = '', ...rest] = character.toUpperCase();
  return first + rest.join('').toLowerCase();
}

/** Words begin after characters without case. */
export function titleCase(text: string): string {
  let after = false;
  let out = '';
  for (const character of text) {
    const cased = isCased(character);
    out += cased ? (after ? character.toLowerCase() : titled(character)) : character;
    after = cased;
  }
  return out;
}

export function isCased(character: string): boolean {
  return /[\p{Lowercase}\p{Uppercase}\p{Lt}]/u.test(character);
}

export function isSpace(text: string): boolean {
  return ALL_SPACE.test(text);
}

export function isLower(text: string): boolean {
  return /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);
}

export function isUpper(text: string): boolean {
  return /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
}

export function isTitle(text: string): boolean {
  let after = false;
  let any = false;
  for (const character of text) {
    const upper = /[\p{Lu}\p{Lt}]/u.test(character);
    const lower = /\p{Ll}/u.test(character);
    if ((upper && after) || (lower && !after)) return false;
    after = upper || lower;
    any ||= after;
  }
  return any;
}

/** Pads a text to a width on both sides. */
export function pad(text: string, width: number, where: 'left' | 'right' | 'both', fill = ' '): string {
  const missing = width - codePoints(text).length;
  if (missing <= 0) return text;
  // As in CPython: an odd character goes left if the width is odd.
  const left = where === 'left' ? missing : where === 'right' ? 0 : (missing >> 1) + (missing & width & 1);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}
