import { CallArguments } from './call-arguments.ts';
import { formatBraces } from './format.ts';
import { toIndex } from './numbers.ts';
import { stringMethod } from './string-methods.ts';
import {
  codePoints,
  Dict,
  DictView,
  equals,
  Func,
  isInt,
  isList,
  type Kwargs,
  orElse,
  PyObject,
  Range,
  repr,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** Methods that change their object, which transformers' sandbox forbids. */
const MUTATORS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['list', new Set(['append', 'clear', 'pop', 'reverse', 'insert', 'sort', 'extend', 'remove'])],
  ['dict', new Set(['clear', 'pop', 'popitem', 'setdefault', 'update'])],
]);

/** `value.name`: an attribute, or else an item with this name. */
export function attributeOf(value: Value, name: string): Value {
  const found = orElse(ownAttribute(value, name), () => item(value, name));
  return orElse(found, () => missing(value, name));
}

/** `value[key]`: an item, or else an attribute with this name. */
export function itemOf(value: Value, key: Value): Value {
  const found = orElse(item(value, key), () => (typeof key === 'string' ? ownAttribute(value, key) : undefined));
  return orElse(found, () => missing(value, key));
}

/** An attribute, never an item; undefined if there is none. */
export function ownAttribute(value: Value, name: string): Value | undefined {
  if (value instanceof Undefined) value.fail();
  const type = typeName(value);
  if (MUTATORS.get(type)?.has(name)) {
    return new Undefined(
      `access to attribute '${name}' of '${type}' object is unsafe. Templates can't change lists and dicts; build new ones, or use namespace().`,
    );
  }
  if (typeof value === 'string') return formatMethod(value, name) ?? stringMethod(value, name);
  if (value instanceof Dict) return dictMethod(value, name);
  if (isList(value)) return listMethod(value, name);
  if (value instanceof Tuple) return orElse(value.attribute(name), () => listMethod(value.items, name));
  return value instanceof PyObject ? value.attribute(name) : undefined;
}

function item(value: Value, key: Value): Value | undefined {
  if (value instanceof Undefined) return value.fail();
  if (value instanceof Dict) return isHashable(key) ? value.get(key) : undefined;
  if (!(isInt(key) || typeof key === 'boolean')) return undefined;
  const index = toIndex(key);
  if (typeof value === 'string') return at(codePoints(value), index);
  if (isList(value)) return at(value, index);
  if (value instanceof Tuple) return at(value.items, index);
  if (!(value instanceof Range)) return undefined;
  const from0 = index < 0 ? index + value.length : index;
  return from0 >= 0 && from0 < value.length ? value.at(from0) : undefined;
}

function at(items: string | readonly Value[], index: number): Value | undefined {
  return items[index < 0 ? index + items.length : index];
}

function isHashable(key: Value): boolean {
  return !(isList(key) || key instanceof Dict);
}

function missing(value: Value, key: Value): Undefined {
  const what = value === null ? 'None' : `${typeName(value)} object`;
  return new Undefined(
    typeof key === 'string' ? `'${what}' has no attribute '${key}'` : `${what} has no element ${repr(key)}`,
  );
}

const READER = { attribute: attributeOf, item: itemOf };

function formatMethod(text: string, name: string): Func | undefined {
  if (name === 'format') return new Func(name, (args, kwargs) => formatBraces(text, args, kwargs, READER));
  if (name !== 'format_map') return undefined;
  return method(name, ['mapping'], (args) => {
    const mapping = args.value('mapping');
    if (!(mapping instanceof Dict)) throw new TemplateError('format_map() takes a mapping');
    const named = new Map([...mapping.entries()].map(([key, value]) => [String(key), value]));
    return formatBraces(text, [], named, READER);
  });
}

function dictMethod(dict: Dict, name: string): Func | undefined {
  const views = { items: 'dict_items', keys: 'dict_keys', values: 'dict_values' } as const;
  if (name === 'items' || name === 'keys' || name === 'values') {
    const items = () => {
      if (name === 'items') return [...dict.entries()].map((entry) => new Tuple(entry));
      return name === 'keys' ? [...dict.keys()] : [...dict.entries()].map(([, value]) => value);
    };
    return method(name, [], () => new DictView(views[name], items()));
  }
  if (name === 'get')
    return method(name, ['key', 'default?'], (args) =>
      orElse(dict.get(args.value('key')), () => args.value('default')),
    );
  return name === 'copy' ? method(name, [], () => new Dict(dict.entries())) : undefined;
}

function listMethod(items: readonly Value[], name: string): Func | undefined {
  if (name === 'copy') return method(name, [], () => [...items]);
  if (name === 'count') {
    return method(name, ['value'], (args) => items.filter((each) => equals(each, args.value('value'))).length);
  }
  if (name !== 'index') return undefined;
  return method(name, ['value', 'start?', 'stop?'], (args) => {
    const value = args.value('value');
    const start = args.integer('start', 0);
    const stop = args.integer('stop', items.length);
    const inside = (i: number) =>
      i >= (start < 0 ? start + items.length : start) && i < (stop < 0 ? stop + items.length : stop);
    const index = items.findIndex((each, i) => inside(i) && equals(each, value));
    if (index >= 0) return index;
    throw new TemplateError(`${repr(value)} is not in list`);
  });
}

function method(name: string, parameters: readonly string[], call: (args: CallArguments) => Value): Func {
  return new Func(name, (args: readonly Value[], kwargs: Kwargs) =>
    call(new CallArguments(name, parameters, args, kwargs)),
  );
}
