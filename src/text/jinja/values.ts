/**
 * Values as templates have them: Python's. None is null, an int a number (a bigint where a double is not exact), a
 * float a {@link Float}, since 1.0 and 1 print differently; a list is an array.
 */
export type Value = null | boolean | number | bigint | string | readonly Value[] | PyObject;

/** Limit for texts and lists, longer than any prompt's. Operations that would exceed it are refused before they run. */
export const MAX_LENGTH = 2 ** 23;

export type Kwargs = ReadonlyMap<string, Value>;
export const NO_KWARGS: Kwargs = new Map();

/** A failure in a template, in the words of Python and its Jinja. */
export class TemplateError extends Error {
  /** The line of the template, from 1. */
  line: number | undefined;

  constructor(message: string, line?: number) {
    super(message);
    this.name = 'TemplateError';
    this.line = line;
  }
}

/** A value without a JavaScript counterpart. */
export abstract class PyObject {
  /** Python's name of its type. */
  abstract readonly typeName: string;

  get truthy(): boolean {
    return true;
  }

  repr(): string {
    return `<${this.typeName} object>`;
  }

  str(): string {
    return this.repr();
  }

  /** An attribute; undefined if there is none with this name. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
}

export class Float extends PyObject {
  readonly typeName = 'float';
  readonly value: number;

  constructor(value: number) {
    super();
    this.value = value;
  }

  override get truthy(): boolean {
    return this.value !== 0;
  }

  override repr(): string {
    return floatRepr(this.value);
  }

  override attribute(name: string): Value | undefined {
    return name === 'is_integer' ? new Func(name, () => Number.isInteger(this.value)) : undefined;
  }
}

/** The value of a missing name, attribute or item: it prints as nothing, and most other uses of it fail. */
export class Undefined extends PyObject {
  readonly typeName = 'Undefined';
  readonly problem: string;

  constructor(problem: string) {
    super();
    this.problem = problem;
  }

  override get truthy(): boolean {
    return false;
  }

  override repr(): string {
    return 'Undefined';
  }

  override str(): string {
    return '';
  }

  fail(): never {
    throw new TemplateError(this.problem);
  }
}

export class Tuple extends PyObject {
  readonly typeName = 'tuple';
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    super();
    this.items = items;
  }

  override get truthy(): boolean {
    return this.items.length > 0;
  }

  override repr(): string {
    return this.items.length === 1 ? `(${repr(this.items[0])},)` : `(${this.items.map(repr).join(', ')})`;
  }
}

/** A group of `groupby`: its key and its items. */
export class Group extends Tuple {
  override attribute(name: string): Value | undefined {
    return name === 'grouper' ? this.items[0] : name === 'list' ? this.items[1] : undefined;
  }
}

/**
 * A text that is escaped already, as the filters `safe` and `escape` make one. Texts that are added to it are escaped;
 * everything else takes it as a text.
 */
export class Markup extends PyObject {
  readonly typeName = 'Markup';
  readonly text: string;

  constructor(text: string) {
    super();
    this.text = text;
  }

  override get truthy(): boolean {
    return this.text !== '';
  }

  override repr(): string {
    return `Markup(${repr(this.text)})`;
  }

  override str(): string {
    return this.text;
  }
}

/** A value with a text in place of a markup. */
export function plain(value: Value): Value {
  return value instanceof Markup ? value.text : value;
}

/** A mapping that keeps the order in which its keys came, whatever they look like. */
export class Dict extends PyObject {
  readonly typeName = 'dict';
  readonly #entries = new Map<unknown, readonly [key: Value, value: Value]>();

  constructor(entries: Iterable<readonly [Value, Value]> = []) {
    super();
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: Value): Value | undefined {
    return this.#entries.get(hash(key))?.[1];
  }

  set(key: Value, value: Value): void {
    const hashed = hash(key);
    // As in Python, the first spelling of a key stays: 1, and not True or 1.0.
    const known = this.#entries.get(hashed);
    this.#entries.set(hashed, [known === undefined ? key : known[0], value]);
  }

  has(key: Value): boolean {
    return this.#entries.has(hash(key));
  }

  entries(): IterableIterator<readonly [Value, Value]> {
    return this.#entries.values();
  }

  *keys(): IterableIterator<Value> {
    for (const [key] of this.#entries.values()) yield key;
  }

  override get truthy(): boolean {
    return this.size > 0;
  }

  override repr(): string {
    return `{${[...this.entries()].map(([key, value]) => `${repr(key)}: ${repr(value)}`).join(', ')}}`;
  }
}

/**
 * The result of items(), keys() and values(): it has a length and can be iterated again, but has no items by number.
 */
export class DictView extends PyObject {
  readonly typeName: string;
  readonly items: readonly Value[];

  constructor(kind: 'dict_items' | 'dict_keys' | 'dict_values', items: readonly Value[]) {
    super();
    this.typeName = kind;
    this.items = items;
  }

  override get truthy(): boolean {
    return this.items.length > 0;
  }

  override repr(): string {
    return `${this.typeName}(${repr(this.items)})`;
  }
}

export class Range extends PyObject {
  readonly typeName = 'range';
  readonly start: number;
  readonly stop: number;
  readonly step: number;
  readonly length: number;

  constructor(start: number, stop: number, step: number) {
    super();
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.length = Math.max(0, Math.ceil((stop - start) / step));
  }

  at(index: number): number {
    return this.start + index * this.step;
  }

  override get truthy(): boolean {
    return this.length > 0;
  }

  override repr(): string {
    return this.step === 1 ? `range(${this.start}, ${this.stop})` : `range(${this.start}, ${this.stop}, ${this.step})`;
  }

  override attribute(name: string): Value | undefined {
    return name === 'start' || name === 'stop' || name === 'step' ? this[name] : undefined;
  }
}

/** A generator: it can be iterated once, is always true, and has no length. */
export class Iter extends PyObject implements Iterable<Value> {
  readonly typeName: string;
  readonly #iterator: Iterator<Value>;

  constructor(values: Iterable<Value>, typeName = 'generator') {
    super();
    this.typeName = typeName;
    this.#iterator = values[Symbol.iterator]();
  }

  [Symbol.iterator](): Iterator<Value> {
    // Not the iterator itself: leaving a loop early would end it.
    return { next: () => this.#iterator.next() };
  }
}

export class Func extends PyObject {
  readonly typeName: string = 'function';
  readonly name: string;
  readonly call: (args: readonly Value[], kwargs: Kwargs) => Value;

  constructor(name: string, call: (args: readonly Value[], kwargs: Kwargs) => Value) {
    super();
    this.name = name;
    this.call = call;
  }

  override repr(): string {
    return `<${this.typeName} ${this.name}>`;
  }
}

/** A namespace, which `{% set ns.name = … %}` can change. */
export class Namespace extends PyObject {
  readonly typeName = 'Namespace';
  readonly attributes: Dict;

  constructor(attributes: Dict) {
    super();
    this.attributes = attributes;
  }

  override repr(): string {
    return `<Namespace ${this.attributes.repr()}>`;
  }

  override attribute(name: string): Value | undefined {
    return this.attributes.get(name);
  }
}

/** A value, or a substitute if there is none. None is a value, so `??` would be wrong. */
export function orElse<T>(value: Value | undefined, otherwise: () => T): Value | T {
  return value === undefined ? otherwise() : value;
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function isInt(value: Value): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'boolean') return 'bool';
  if (isInt(value)) return 'int';
  return isList(value) ? 'list' : value.typeName;
}

export function truthy(value: Value): boolean {
  if (value instanceof PyObject) return value.truthy;
  if (isList(value)) return value.length > 0;
  return Boolean(value);
}

export function str(value: Value): string {
  if (typeof value === 'string') return value;
  return value instanceof PyObject ? value.str() : repr(value);
}

export function repr(value: Value): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return stringRepr(value);
  if (isInt(value)) return String(value);
  if (isList(value)) return `[${value.map(repr).join(', ')}]`;
  return value.repr();
}

/** Shortest digits that read back as the same double, in Python's layout: 1.0, 1e-07, 1e+16. */
export function floatRepr(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa, power] = value.toExponential().split('e');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const sign = value < 0 ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}

const UNPRINTABLE = /[\p{C}\p{Z}\\'"]/u;

function stringRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  if (!UNPRINTABLE.test(text)) return `'${text}'`;
  let out = quote;
  for (const character of text) {
    if (character === quote || character === '\\') out += `\\${character}`;
    else if (character === '\n') out += '\\n';
    else if (character === '\r') out += '\\r';
    else if (character === '\t') out += '\\t';
    else if (character === ' ' || !/[\p{C}\p{Z}]/u.test(character)) out += character;
    else out += escaped(character.codePointAt(0) ?? 0);
  }
  return out + quote;
}

function escaped(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

/** The key for a value in a Map: equal for equal values. */
function hash(value: Value): unknown {
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Float) {
    return Number.isSafeInteger(value.value) || !Number.isInteger(value.value) ? value.value : BigInt(value.value);
  }
  if (value instanceof Tuple) return `\u0000${value.items.map((item) => `${typeof hash(item)} ${String(hash(item))}`)}`;
  if (value instanceof Undefined) return Undefined;
  if (value instanceof Markup) return value.text;
  if (isList(value) || value instanceof Dict) throw new TemplateError(`unhashable type: '${typeName(value)}'`);
  return value;
}

/** Iterates over a value as `for` does. */
export function iterate(value: Value): Iterable<Value> {
  if (typeof value === 'string' || isList(value) || value instanceof Iter) return value;
  if (value instanceof Tuple || value instanceof DictView) return value.items;
  if (value instanceof Dict) return value.keys();
  if (value instanceof Range) return rangeValues(value);
  if (value instanceof Undefined) return [];
  if (value instanceof Markup) return value.text;
  throw new TemplateError(`'${typeName(value)}' object is not iterable`);
}

export function isIterable(value: Value): boolean {
  return (
    typeof value === 'string' ||
    isList(value) ||
    [Iter, Tuple, DictView, Dict, Range, Undefined, Markup].some((type) => value instanceof type)
  );
}

function* rangeValues(range: Range): Iterable<Value> {
  for (let i = 0; i < range.length; i++) yield range.at(i);
}

/** The length of a value; undefined if it has none. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === 'string') return codePoints(value).length;
  if (isList(value)) return value.length;
  if (value instanceof Tuple || value instanceof DictView) return value.items.length;
  if (value instanceof Dict) return value.size;
  if (value instanceof Range) return value.length;
  if (value instanceof Markup) return lengthOf(value.text);
  return value instanceof Undefined ? 0 : undefined;
}

/** A text by its characters, as Python counts them; the text itself if each character is one unit. */
export function codePoints(text: string): string | string[] {
  return /[\ud800-\udbff]/.test(text) ? [...text] : text;
}

export function equals(a: Value, b: Value): boolean {
  if (a === b) return true;
  const [x, y] = [asNumber(a), asNumber(b)];
  // `==` of JavaScript compares a bigint and a number exactly.
  // biome-ignore lint/suspicious/noDoubleEquals: as above
  if (x !== undefined || y !== undefined) return x !== undefined && y !== undefined && x == y;
  if (isList(a)) return isList(b) && sameItems(a, b);
  if (a instanceof Tuple) return b instanceof Tuple && sameItems(a.items, b.items);
  if (a instanceof Range) return b instanceof Range && sameItems([...rangeValues(a)], [...rangeValues(b)]);
  if (a instanceof Undefined) return b instanceof Undefined;
  if (a instanceof Markup || b instanceof Markup) return plain(a) === plain(b);
  if (!(a instanceof Dict && b instanceof Dict) || a.size !== b.size) return false;
  return [...a.entries()].every(([key, value]) => {
    const other = b.get(key);
    return other !== undefined && equals(value, other);
  });
}

function sameItems(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, i) => equals(item, b[i]));
}

/** The number of an int, float or bool. */
export function asNumber(value: Value): number | bigint | undefined {
  if (typeof value === 'boolean') return Number(value);
  return value instanceof Float ? value.value : isInt(value) ? value : undefined;
}

/** a < b. @param sign the operator, for messages. */
export function lessThan(a: Value, b: Value, sign = '<'): boolean {
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== undefined && y !== undefined) return x < y;
  if (typeof a === 'string' && typeof b === 'string') return textBefore(a, b);
  if (a instanceof Markup || b instanceof Markup) return lessThan(plain(a), plain(b), sign);
  if (isList(a) && isList(b)) return listBefore(a, b, sign);
  if (a instanceof Tuple && b instanceof Tuple) return listBefore(a.items, b.items, sign);
  for (const operand of [a, b]) if (operand instanceof Undefined) operand.fail();
  throw new TemplateError(`'${sign}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

function listBefore(a: readonly Value[], b: readonly Value[], sign: string): boolean {
  const at = a.findIndex((item, i) => i >= b.length || !equals(item, b[i]));
  if (at < 0) return a.length < b.length;
  return at < b.length && lessThan(a[at], b[at], sign);
}

/** Compares texts by code points: JavaScript's own order puts those above U+FFFF before U+E000. */
function textBefore(a: string, b: string): boolean {
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  const [x, y] = [rank(a.charCodeAt(i)), rank(b.charCodeAt(i))];
  return i === a.length ? i < b.length : i < b.length && x < y;
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x2800 : unit;
}

/** `item in container` */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item);
    if (item instanceof Markup) return container.includes(item.text);
    if (item instanceof Undefined) return item.fail();
    throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (container instanceof Dict) return container.has(item);
  if (container instanceof Markup) return contains(container.text, item);
  for (const each of iterateIn(container)) if (equals(each, item)) return true;
  return false;
}

function iterateIn(container: Value): Iterable<Value> {
  if (isIterable(container)) return iterate(container);
  throw new TemplateError(`argument of type '${typeName(container)}' is not iterable`);
}

/**
 * The number of values inside a value; values that occur twice count twice, as for code that visits all of them.
 * @param most where counting ends.
 */
export function countValues(value: Value, most: number): number {
  const items = itemsInside(value);
  let count = 0;
  for (const item of items) {
    count += 1 + countValues(item, most - count);
    if (count > most) return count;
  }
  return count;
}

function itemsInside(value: Value): Iterable<Value> {
  if (isList(value)) return value;
  if (value instanceof Tuple || value instanceof DictView) return value.items;
  if (value instanceof Dict) return valuesOf(value);
  return value instanceof Namespace ? [value.attributes] : [];
}

function* valuesOf(dict: Dict): Iterable<Value> {
  for (const [, value] of dict.entries()) yield value;
}

/** Limit for nesting, deeper than any conversation; a value that contains itself has no end. */
const MAX_DEPTH = 256;

/**
 * A JavaScript value as Python has it after a round trip through JSON: whole numbers are ints, and what JSON omits is
 * omitted. Maps become dicts in their order, which objects do not keep for keys such as '10'.
 */
export function fromJs(value: unknown, depth = 0): Value {
  if (depth > MAX_DEPTH) throw new TemplateError(`The values are nested deeper than ${MAX_DEPTH} levels.`);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return fromNumber(value);
  if (typeof value === 'bigint') return normal(value);
  if (value instanceof PyObject) return value;
  if (Array.isArray(value)) return value.map((item) => fromJs(item, depth + 1));
  if (value instanceof Map) return new Dict(entriesFromJs(value, depth));
  if (typeof value !== 'object' || value === null) return null;
  if ('toJSON' in value && typeof value.toJSON === 'function') return fromJs(value.toJSON(), depth + 1);
  return new Dict(entriesFromJs(Object.entries(value), depth));
}

function* entriesFromJs(entries: Iterable<readonly [unknown, unknown]>, depth: number): Iterable<[Value, Value]> {
  for (const [key, value] of entries) {
    if (value === undefined || typeof value === 'function' || typeof value === 'symbol') continue;
    yield [fromJs(key, depth + 1), fromJs(value, depth + 1)];
  }
}

/** The int or float that Python reads. From 1e21 on JSON.stringify writes an exponent, which makes it a float. */
function fromNumber(value: number): Value {
  if (!Number.isInteger(value) || Math.abs(value) >= 1e21) return new Float(value);
  return Number.isSafeInteger(value) ? value + 0 : BigInt(value);
}

/** An int in its stored form: a number if that is exact. */
export function normal(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** The result of a comparison of order. */
export function ordered(a: Value, sign: '<' | '<=' | '>' | '>=', b: Value): boolean {
  const [x, y] = [asNumber(a), asNumber(b)];
  if (x !== undefined && y !== undefined) return { '<': x < y, '<=': x <= y, '>': x > y, '>=': x >= y }[sign];
  const isBefore = lessThan(a, b, sign);
  if (sign === '<') return isBefore;
  if (sign === '>=') return !isBefore;
  return sign === '<=' ? isBefore || equals(a, b) : !isBefore && !equals(a, b);
}
