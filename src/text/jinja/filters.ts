import { itemOf, ownAttribute } from './attributes.ts';
import { CallArguments } from './call-arguments.ts';
import { formatPercent } from './format.ts';
import { toJson } from './json.ts';
import { attributeOfMarkup, escaped, markupArithmetic, markupOf } from './markup.ts';
import { arithmetic, negated, parseFloatValue, parseInteger, posited, rounded, toIndex } from './numbers.ts';
import { capitalize, pad, replace, splitLines, strip } from './strings.ts';
import {
  asNumber,
  codePoints,
  Dict,
  equals,
  Float,
  Group,
  Iter,
  isList,
  iterate,
  type Kwargs,
  lengthOf,
  lessThan,
  MAX_LENGTH,
  Markup,
  orElse,
  repr,
  str,
  TemplateError,
  Tuple,
  truthy,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** The functions that filters need from the interpreter. */
export interface FilterContext {
  filter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value;
  test(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): boolean;
  /** Counts work. @throws TemplateError if there was too much of it. */
  spend(steps: number): void;
}

type Filter = (value: Value, args: CallArguments, context: FilterContext) => Value;

/** Parameters and function by name. */
const FILTERS = new Map<string, readonly [parameters: readonly string[], filter: Filter]>([
  ['abs', [[], (value) => ((asNumber(posited(value)) ?? 0) < 0 ? negated(value) : posited(value))]],
  ['attr', [['name'], attribute]],
  ['batch', [['linecount', 'fill_with?'], batch]],
  ['capitalize', [[], (value) => capitalize(str(value))]],
  ['center', [['width?'], center]],
  ['dictsort', [['case_sensitive?', 'by?', 'reverse?'], dictSort]],
  ['first', [[], first]],
  ['float', [['default?'], (value, args) => toFloat(value, args)]],
  ['forceescape', [[], (value) => new Markup(escaped(str(value)))]],
  ['groupby', [['attribute', 'default?', 'case_sensitive?'], groupBy]],
  ['indent', [['width?', 'first?', 'blank?'], indent]],
  ['int', [['default?', 'base?'], toInteger]],
  ['items', [[], (value) => new Iter(items(value))]],
  ['join', [['d?', 'attribute?'], join]],
  ['last', [[], last]],
  ['list', [[], (value) => [...iterate(value)]]],
  ['lower', [[], (value) => str(value).toLowerCase()]],
  ['max', [['case_sensitive?', 'attribute?'], (value, args) => extreme(value, args, (a, b) => lessThan(b, a, '>'))]],
  ['min', [['case_sensitive?', 'attribute?'], (value, args) => extreme(value, args, (a, b) => lessThan(a, b))]],
  ['random', [[], random]],
  ['replace', [['old', 'new', 'count?'], replaced]],
  ['reverse', [[], reversed]],
  ['round', [['precision?', 'method?'], round]],
  ['safe', [[], (value) => new Markup(str(value))]],
  ['slice', [['slices', 'fill_with?'], slices]],
  ['sort', [['reverse?', 'case_sensitive?', 'attribute?'], sort]],
  ['string', [[], str]],
  ['sum', [['attribute?', 'start?'], sum]],
  ['title', [[], (value) => titled(str(value))]],
  ['tojson', [['ensure_ascii?', 'indent?', 'separators?', 'sort_keys?'], json]],
  ['trim', [['chars?'], (value, args) => strip(str(value), args.textOrNone('chars'))]],
  ['truncate', [['length?', 'killwords?', 'end?', 'leeway?'], truncate]],
  ['unique', [['case_sensitive?', 'attribute?'], unique]],
  ['upper', [[], (value) => str(value).toUpperCase()]],
  ['urlencode', [[], urlEncode]],
  ['wordcount', [[], (value) => str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0]],
  ...['d', 'default'].map((name) => [name, [['default_value?', 'boolean?'], otherwise]] as const),
  ...['length', 'count'].map((name) => [name, [[], length]] as const),
  ...['e', 'escape'].map((name) => [name, [[], (value: Value) => new Markup(escaped(value))]] as const),
]);

/** Filters that make a markup of a markup. */
const KEEP_MARKUP = new Set(
  'capitalize center d default indent lower reverse string title trim truncate upper'.split(' '),
);

/** `value|name(…)`. @throws TemplateError if there is no such filter. */
export function runFilter(
  name: string,
  value: Value,
  args: readonly Value[],
  kwargs: Kwargs,
  context: FilterContext,
): Value {
  if (!(value instanceof Markup) || /escape$|^e$/.test(name)) return runFilterOn(name, value, args, kwargs, context);
  if (name === 'attr') return attributeOfMarkup(value, str(args[0] ?? ''));
  if (name === 'format') return markupArithmetic('%', value, kwargs.size > 0 ? new Dict(kwargs) : new Tuple(args));
  const result = runFilterOn(name, value.text, args, kwargs, context);
  return KEEP_MARKUP.has(name) ? markupOf(result) : result;
}

function runFilterOn(
  name: string,
  value: Value,
  args: readonly Value[],
  kwargs: Kwargs,
  context: FilterContext,
): Value {
  const entry = FILTERS.get(name);
  if (entry !== undefined)
    return entry[1](value, new CallArguments(`filter '${name}'`, entry[0], args, kwargs), context);
  if (name === 'format') return formatted(value, args, kwargs);
  if (name === 'map') return new Iter(mapped(value, args, kwargs, context));
  const isAttribute = name.endsWith('attr');
  if (name === 'select' || name === 'selectattr')
    return new Iter(selected(value, args, kwargs, context, isAttribute, true));
  if (name === 'reject' || name === 'rejectattr')
    return new Iter(selected(value, args, kwargs, context, isAttribute, false));
  throw new TemplateError(`No filter named '${name}'.`);
}

// --- Attributes of items --------------------------------------------------------------------------------------------

/** Reads `a.b.0` of an item. */
function getter(path: Value, otherwise: Value = null): (item: Value) => Value {
  const parts: readonly Value[] =
    path === null
      ? []
      : typeof path === 'string'
        ? path.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part))
        : [path];
  return (item) => {
    let value = item;
    for (const part of parts) {
      value = itemOf(value, part);
      if (otherwise !== null && value instanceof Undefined) value = otherwise;
    }
    return value;
  };
}

function withoutCase(value: Value): Value {
  return typeof value === 'string' ? value.toLowerCase() : value;
}

/** The key by which items are compared: an attribute, and without case unless requested. */
function keyOf(args: CallArguments, otherwise: Value = null): (item: Value) => Value {
  const get = getter(args.value('attribute'), otherwise);
  return truthy(args.value('case_sensitive', false)) ? get : (item) => withoutCase(get(item));
}

function sorted<T>(list: readonly T[], key: (item: T) => Value, reverse: boolean): T[] {
  const keyed = list.map((item) => ({ item, key: key(item) }));
  const [before, after] = reverse ? [1, -1] : [-1, 1];
  keyed.sort((a, b) => (lessThan(a.key, b.key) ? before : lessThan(b.key, a.key) ? after : 0));
  return keyed.map(({ item }) => item);
}

// --- Lists ------------------------------------------------------------------------------------------------------------

function* mapped(value: Value, args: readonly Value[], kwargs: Kwargs, context: FilterContext): Iterable<Value> {
  if (!truthy(value)) return;
  let map: (item: Value) => Value;
  const path = kwargs.get('attribute');
  if (args.length === 0 && path !== undefined) {
    const unknown = [...kwargs.keys()].find((key) => key !== 'attribute' && key !== 'default');
    if (unknown !== undefined) throw new TemplateError(`Unexpected keyword argument '${unknown}'`);
    map = getter(path, kwargs.get('default'));
  } else {
    const [name, ...rest] = args;
    if (name === undefined) throw new TemplateError('map requires a filter argument');
    map = (item) => context.filter(nameOf(name, 'filter'), item, rest, kwargs);
  }
  for (const item of iterate(value)) {
    context.spend(1);
    yield map(item);
  }
}

function* selected(
  value: Value,
  args: readonly Value[],
  kwargs: Kwargs,
  context: FilterContext,
  isAttribute: boolean,
  wanted: boolean,
): Iterable<Value> {
  if (!truthy(value)) return;
  if (isAttribute && args.length === 0) throw new TemplateError('Missing parameter for attribute name');
  const get = isAttribute ? getter(args[0]) : (item: Value) => item;
  const [name, ...rest] = isAttribute ? args.slice(1) : args;
  for (const item of iterate(value)) {
    context.spend(1);
    const tested = get(item);
    const holds = name === undefined ? truthy(tested) : context.test(nameOf(name, 'test'), tested, rest, kwargs);
    if (holds === wanted) yield item;
  }
}

function nameOf(name: Value, what: string): string {
  if (typeof name === 'string') return name;
  throw new TemplateError(`No ${what} named ${repr(name)}.`);
}

function* items(value: Value): Iterable<Value> {
  if (value instanceof Undefined) return;
  if (!(value instanceof Dict)) throw new TemplateError('Can only get item pairs from a mapping.');
  for (const entry of value.entries()) yield new Tuple(entry);
}

function first(value: Value): Value {
  for (const item of iterate(value)) return item;
  return new Undefined('No first item, sequence was empty.');
}

function last(value: Value): Value {
  if (value instanceof Iter) throw new TemplateError("'generator' object is not reversible");
  return orElse([...iterate(value)].at(-1), () => new Undefined('No last item, sequence was empty.'));
}

function random(value: Value): Value {
  if (value instanceof Iter || value instanceof Dict)
    throw new TemplateError(`random can't choose from ${typeName(value)}`);
  const all = [...iterate(value)];
  const at = Math.floor(Math.random() * all.length);
  return orElse(all[at], () => new Undefined('No random item, sequence was empty.'));
}

function reversed(value: Value): Value {
  if (typeof value === 'string') return [...value].reverse().join('');
  const all = [...iterate(value)].reverse();
  return value instanceof Iter ? all : new Iter(all, isList(value) ? 'list_reverseiterator' : 'reversed');
}

function* batches(value: Value, count: number, fill: Value): Iterable<Value> {
  let line: Value[] = [];
  for (const item of iterate(value)) {
    if (line.length === count) {
      yield line;
      line = [];
    }
    line.push(item);
  }
  if (line.length === 0) return;
  yield fill === null || line.length >= count ? line : [...line, ...new Array<Value>(count - line.length).fill(fill)];
}

function batch(value: Value, args: CallArguments): Value {
  const count = args.integer('linecount', 0);
  if (count > MAX_LENGTH) throw new TemplateError('The template makes a list that is too long.');
  return new Iter(batches(value, count, args.value('fill_with')));
}

function slices(value: Value, args: CallArguments, context: FilterContext): Value {
  const count = args.integer('slices', 0);
  if (count < 1) throw new TemplateError('slice needs at least one slice');
  context.spend(count);
  const all = [...iterate(value)];
  const fill = args.value('fill_with');
  const each = Math.floor(all.length / count);
  const extra = all.length % count;
  const parts = Array.from({ length: count }, (_, i): Value => {
    const start = i * each + Math.min(i, extra);
    const part = all.slice(start, start + each + (i < extra ? 1 : 0));
    return fill !== null && i >= extra ? [...part, fill] : part;
  });
  return new Iter(parts);
}

function sort(value: Value, args: CallArguments): Value {
  const path = args.value('attribute');
  const getters = typeof path === 'string' ? path.split(',').map((part) => getter(part)) : [getter(path)];
  const fold = truthy(args.value('case_sensitive', false)) ? (key: Value) => key : withoutCase;
  const key = (item: Value) => getters.map((get) => fold(get(item)));
  return sorted([...iterate(value)], key, truthy(args.value('reverse', false)));
}

function dictSort(value: Value, args: CallArguments): Value {
  if (!(value instanceof Dict)) throw new TemplateError(`'${typeName(value)}' object has no attribute 'items'`);
  const by = args.value('by', 'key');
  if (by !== 'key' && by !== 'value') throw new TemplateError('You can only sort by either "key" or "value"');
  const fold = truthy(args.value('case_sensitive', false)) ? (key: Value) => key : withoutCase;
  const key = (entry: Tuple) => fold(entry.items[by === 'key' ? 0 : 1]);
  return sorted(
    [...value.entries()].map((entry) => new Tuple(entry)),
    key,
    truthy(args.value('reverse', false)),
  );
}

function groupBy(value: Value, args: CallArguments): Value {
  const otherwise = args.value('default');
  const key = keyOf(args, otherwise);
  const label = getter(args.value('attribute'), otherwise);
  const groups: { readonly key: Value; readonly items: Value[] }[] = [];
  for (const item of sorted([...iterate(value)], key, false)) {
    const group = groups.at(-1);
    if (group !== undefined && equals(group.key, key(item))) group.items.push(item);
    else groups.push({ key: key(item), items: [item] });
  }
  return groups.map((group) => new Group([label(group.items[0]), group.items]));
}

function unique(value: Value, args: CallArguments): Value {
  const key = keyOf(args);
  const seen = new Dict();
  const isNew = (item: Value) => {
    const itemKey = key(item);
    if (seen.has(itemKey)) return false;
    seen.set(itemKey, null);
    return true;
  };
  const all = iterate(value);
  return new Iter(
    (function* () {
      for (const item of all) if (isNew(item)) yield item;
    })(),
  );
}

function extreme(value: Value, args: CallArguments, isBetter: (a: Value, b: Value) => boolean): Value {
  const key = keyOf(args);
  let best: { readonly item: Value; readonly key: Value } | undefined;
  for (const item of iterate(value)) {
    const itemKey = key(item);
    if (best === undefined || isBetter(itemKey, best.key)) best = { item, key: itemKey };
  }
  return orElse(best?.item, () => new Undefined('No aggregated item, sequence was empty.'));
}

function sum(value: Value, args: CallArguments, context: FilterContext): Value {
  const get = getter(args.value('attribute'));
  let total = args.value('start', 0);
  if (typeof total === 'string') throw new TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const item of iterate(value)) {
    context.spend(1 + (isList(total) ? total.length : 0));
    total = arithmetic('+', total, get(item));
  }
  return total;
}

function join(value: Value, args: CallArguments): Value {
  const path = args.value('attribute');
  const get = path === null ? (item: Value) => item : getter(path);
  return Array.from(iterate(value), (item) => str(get(item))).join(str(args.value('d', '')));
}

function length(value: Value): Value {
  const count = lengthOf(value);
  if (count === undefined) throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
  return count;
}

function attribute(value: Value, args: CallArguments): Value {
  const name = args.text('name');
  const missing = () => new Undefined(`'${typeName(value)} object' has no attribute '${name}'`);
  return orElse(ownAttribute(value, name), missing);
}

function otherwise(value: Value, args: CallArguments): Value {
  const isMissing = value instanceof Undefined || (truthy(args.value('boolean', false)) && !truthy(value));
  return isMissing ? args.value('default_value', '') : value;
}

// --- Texts ------------------------------------------------------------------------------------------------------------

/** Words begin after white space and opening brackets. */
function titled(text: string): string {
  const upper = (word: string) => {
    const [letter = ''] = word;
    return letter.toUpperCase() + word.slice(letter.length).toLowerCase();
  };
  return text
    .split(/([-\s({[<]+)/)
    .map(upper)
    .join('');
}

function center(value: Value, args: CallArguments): Value {
  const width = args.integer('width', 80);
  if (width > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
  return pad(str(value), width, 'both');
}

function replaced(value: Value, args: CallArguments): Value {
  const count = args.value('count');
  return replace(str(value), str(args.value('old')), str(args.value('new')), count === null ? -1 : toIndex(count));
}

function indent(value: Value, args: CallArguments): Value {
  const width = args.value('width', 4);
  if (typeof width !== 'string' && toIndex(width) > 1024) throw new TemplateError('indent: width is too large');
  const by = typeof width === 'string' ? width : ' '.repeat(Math.max(0, toIndex(width)));
  // A line end at the end leaves an empty line there.
  const [begin = '', ...rest] = splitLines(`${strictText(value)}\n`);
  const blank = truthy(args.value('blank', false));
  const lines = rest.map((line) => (blank || line !== '' ? by + line : line));
  const text = [begin, ...lines].join('\n');
  return truthy(args.value('first', false)) ? by + text : text;
}

/** A value that must be a text, because Python adds a text to it. */
function strictText(value: Value): string {
  if (typeof value === 'string') return value;
  if (value instanceof Undefined) return value.fail();
  throw new TemplateError(`unsupported operand type(s) for +=: '${typeName(value)}' and 'str'`);
}

function truncate(value: Value, args: CallArguments): Value {
  const most = args.integer('length', 255);
  const end = args.text('end', '...');
  const leeway = args.value('leeway') === null ? 5 : args.integer('leeway', 5);
  if (most < codePoints(end).length)
    throw new TemplateError(`expected length >= ${codePoints(end).length}, got ${most}`);
  if (leeway < 0) throw new TemplateError(`expected leeway >= 0, got ${leeway}`);
  if (Number(length(value)) <= most + leeway) return value;
  const characters = [...strictText(value)];
  const kept = characters.slice(0, most - codePoints(end).length).join('');
  if (truthy(args.value('killwords', false))) return kept + end;
  const space = kept.lastIndexOf(' ');
  return (space < 0 ? kept : kept.slice(0, space)) + end;
}

function urlEncode(value: Value): Value {
  if (typeof value === 'string' || !(value instanceof Dict || isList(value) || value instanceof Tuple)) {
    return quoted(str(value)).replaceAll('%2F', '/');
  }
  const pairs = value instanceof Dict ? [...value.entries()] : Array.from(iterate(value), (pair) => [...iterate(pair)]);
  if (pairs.some((pair) => pair.length !== 2)) throw new TemplateError('urlencode needs pairs');
  return pairs.map((pair) => pair.map((part) => quoted(str(part)).replaceAll('%20', '+')).join('=')).join('&');
}

function quoted(text: string): string {
  const hex = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text.toWellFormed?.() ?? text).replace(/[!'()*]/g, hex);
}

function formatted(value: Value, args: readonly Value[], kwargs: Kwargs): Value {
  if (args.length > 0 && kwargs.size > 0) {
    throw new TemplateError("can't handle positional and keyword arguments at the same time");
  }
  return formatPercent(str(value), kwargs.size > 0 ? new Dict(kwargs) : new Tuple(args));
}

/** `tojson` of transformers: characters beyond ASCII stay, and so does the order of keys. */
function json(value: Value, args: CallArguments): Value {
  const given = args.value('indent');
  const indentation =
    given === null
      ? undefined
      : typeof given === 'string'
        ? given
        : ' '.repeat(Math.min(1024, Math.max(0, toIndex(given))));
  const separators = args.value('separators');
  const [item, key] =
    separators === null ? [indentation === undefined ? ', ' : ',', ': '] : [...iterate(separators)].map(str);
  return toJson(value, {
    ensureAscii: truthy(args.value('ensure_ascii', false)),
    indent: indentation,
    separators: [item, key],
    sortKeys: truthy(args.value('sort_keys', false)),
  });
}

// --- Numbers ----------------------------------------------------------------------------------------------------------

function toInteger(value: Value, args: CallArguments): Value {
  if (value instanceof Undefined) value.fail();
  if (value instanceof Float && Number.isNaN(value.value)) return args.value('default', 0);
  const whole = parseInteger(value, args.integer('base', 10));
  if (whole !== undefined) return whole;
  const number = parseFloatValue(value);
  if (number === undefined || !Number.isFinite(number)) return args.value('default', 0);
  return parseInteger(new Float(number)) ?? 0;
}

function toFloat(value: Value, args: CallArguments): Value {
  if (value instanceof Undefined) value.fail();
  const number = parseFloatValue(value);
  return number === undefined ? args.value('default', new Float(0)) : new Float(number);
}

function round(value: Value, args: CallArguments): Value {
  const digits = args.integer('precision', 0);
  const method = args.value('method', 'common');
  if (method === 'common') return rounded(value, digits);
  if (method !== 'ceil' && method !== 'floor') throw new TemplateError('method must be common, ceil or floor');
  const unit = arithmetic('**', 10, digits);
  const scaled = parseFloatValue(arithmetic('*', value, unit));
  if (scaled === undefined) throw new TemplateError(`must be real number, not ${typeName(value)}`);
  return arithmetic('/', Math[method](scaled), unit);
}
