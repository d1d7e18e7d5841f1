import { fixed, parseInteger } from './numbers.ts';
import { pad } from './strings.ts';
import {
  asNumber,
  codePoints,
  Dict,
  Float,
  floatRepr,
  isInt,
  type Kwargs,
  MAX_LENGTH,
  repr,
  str,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

const PERCENT =
  /%(?:\((?<key>[^)]*)\))?(?<flags>[-#0 +]*)(?<width>\*|\d*)(?:\.(?<precision>\*|\d*))?[hlL]?(?<type>.)?/gsu;

/** `text % values`, like printf. */
export function formatPercent(text: string, values: Value): string {
  const items = values instanceof Tuple ? [...values.items] : [values];
  let next = 0;
  const take = (): Value => {
    if (next >= items.length) throw new TemplateError('not enough arguments for format string');
    return items[next++];
  };
  const written = text.replace(PERCENT, (...match: unknown[]) => {
    const { key, flags, width, precision, type } = match.at(-1) as Readonly<Record<string, string | undefined>>;
    if (type === '%') return '%';
    if (type === undefined) throw new TemplateError('incomplete format');
    const columns = width === '*' ? Number(asNumber(take())) : Number(width || 0);
    const places =
      precision === '*' ? Number(asNumber(take())) : precision === undefined ? undefined : Number(precision || 0);
    let value: Value;
    if (key === undefined) value = take();
    else {
      if (!(values instanceof Dict)) throw new TemplateError('format requires a mapping');
      const item = values.get(key);
      if (item === undefined) throw new TemplateError(`KeyError: ${repr(key)}`);
      value = item;
    }
    return percentField(value, type, flags ?? '', columns, places);
  });
  if (next < items.length && !(values instanceof Dict) && !(next === 0 && isContainer(values))) {
    throw new TemplateError('not all arguments converted during string formatting');
  }
  return written;
}

/** Whether `%` treats a value as a mapping, which need not be used. */
function isContainer(value: Value): boolean {
  return value instanceof Dict || Array.isArray(value);
}

function percentField(value: Value, type: string, flags: string, width: number, precision: number | undefined): string {
  checkWidth(Math.abs(width));
  checkWidth(precision ?? 0);
  const left = flags.includes('-') || width < 0;
  const sign = flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '-';
  let text: string;
  if (type === 's' || type === 'r' || type === 'a') {
    text = type === 's' ? str(value) : repr(value);
    if (precision !== undefined) text = [...text].slice(0, precision).join('');
    return pad(text, Math.abs(width), left ? 'right' : 'left');
  }
  if (type === 'c') {
    const code = asNumber(value);
    text =
      typeof value === 'string' && [...value].length === 1 ? value : String.fromCodePoint(Number(code ?? Number.NaN));
    return pad(text, Math.abs(width), left ? 'right' : 'left');
  }
  if ('diu'.includes(type) || 'oxX'.includes(type)) {
    const number = asNumber(value);
    const isWhole = number !== undefined && ('diu'.includes(type) || !(value instanceof Float));
    if (!isWhole) {
      const what = 'diu'.includes(type) ? 'a real number is required' : 'an integer is required';
      throw new TemplateError(`%${type} format: ${what}, not ${typeName(value)}`);
    }
    const whole = BigInt(parseInteger(value) ?? 0);
    const radix = type === 'o' ? 8 : type === 'x' || type === 'X' ? 16 : 10;
    const digits = (whole < 0 ? -whole : whole).toString(radix).padStart(precision ?? 0, '0');
    const prefix = flags.includes('#') && radix !== 10 ? `0${type}` : '';
    text = type === 'X' ? digits.toUpperCase() : digits;
    return signed(whole < 0, prefix + text, sign, flags.includes('0') && !left, Math.abs(width), left, prefix.length);
  }
  if (!'eEfFgG'.includes(type)) {
    throw new TemplateError(`unsupported format character '${type}'`);
  }
  const number = asNumber(value);
  if (number === undefined) throw new TemplateError(`must be real number, not ${typeName(value)}`);
  const size = Math.abs(Number(number));
  const negative = Number(number) < 0 || Object.is(Number(number), -0);
  text = floatText(size, type, precision ?? 6, flags.includes('#'));
  return signed(negative, text, sign, flags.includes('0') && !left, Math.abs(width), left, 0);
}

function signed(
  negative: boolean,
  digits: string,
  sign: string,
  zeros: boolean,
  width: number,
  left: boolean,
  prefix: number,
): string {
  const mark = negative ? '-' : sign === '-' ? '' : sign;
  if (zeros) return mark + digits.slice(0, prefix) + digits.slice(prefix).padStart(width - mark.length - prefix, '0');
  return pad(mark + digits, width, left ? 'right' : 'left');
}

/** A float without its sign. @param type e, f or g, or the same in capitals. */
function floatText(size: number, type: string, precision: number, alternative = false): string {
  const text = lowerFloatText(size, type.toLowerCase(), precision, alternative);
  return type === type.toUpperCase() ? text.toUpperCase() : text;
}

function lowerFloatText(size: number, type: string, precision: number, alternative: boolean): string {
  if (!Number.isFinite(size)) return floatRepr(size);
  if (type === 'f') return fixed(size, precision) + (alternative && precision === 0 ? '.' : '');
  if (type === 'e') return withExponent(size.toExponential(Math.min(precision, 100)));
  const digits = Math.max(1, Math.min(precision, 100));
  const exponent = size === 0 ? 0 : Number(size.toExponential(digits - 1).split('e')[1]);
  const plain = exponent >= -4 && exponent < digits;
  const text = plain ? fixed(size, digits - 1 - exponent) : size.toExponential(digits - 1);
  if (alternative) return plain ? text : withExponent(text);
  const [mantissa, power] = text.split('e');
  const short = mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa;
  return power === undefined ? short : withExponent(`${short}e${power}`);
}

/** At least two digits. */
function withExponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** The value that a field such as `{0.name[key]}` reads. */
export interface FieldReader {
  attribute(value: Value, name: string): Value;
  item(value: Value, key: Value): Value;
}

/** `text.format(…)` */
export function formatBraces(text: string, args: readonly Value[], kwargs: Kwargs, reader: FieldReader): string {
  return new BraceFormatter(args, kwargs, reader).format(text, 2);
}

class BraceFormatter {
  readonly #args: readonly Value[];
  readonly #kwargs: Kwargs;
  readonly #reader: FieldReader;
  /** The next automatic number; undefined once fields have explicit numbers. */
  #next: number | undefined = 0;

  constructor(args: readonly Value[], kwargs: Kwargs, reader: FieldReader) {
    this.#args = args;
    this.#kwargs = kwargs;
    this.#reader = reader;
  }

  format(text: string, depth: number): string {
    if (depth < 0) throw new TemplateError('Max string recursion exceeded');
    let out = '';
    for (let i = 0; i < text.length; i++) {
      const character = text[i];
      if (character !== '{' && character !== '}') out += character;
      else if (text[i + 1] === character) {
        out += character;
        i++;
      } else if (character === '}') throw new TemplateError("Single '}' encountered in format string");
      else {
        const end = closing(text, i);
        out += this.#field(text.slice(i + 1, end), depth);
        i = end;
      }
    }
    return out;
  }

  #field(field: string, depth: number): string {
    const match = /^(?<name>[^!:[]*(?:\[[^\]]*\][^!:[]*)*)(?:!(?<conversion>.))?(?::(?<spec>.*))?$/s.exec(field);
    if (match?.groups === undefined) throw new TemplateError("expected '}' before end of string");
    const { name, conversion, spec = '' } = match.groups as Readonly<Record<string, string | undefined>>;
    let value = this.#lookUp(name ?? '');
    if (conversion === 'r' || conversion === 'a') value = repr(value);
    else if (conversion === 's') value = str(value);
    else if (conversion !== undefined) throw new TemplateError(`Unknown conversion specifier ${conversion}`);
    return formatValue(value, this.format(spec, depth - 1));
  }

  #lookUp(name: string): Value {
    const [, first, rest] = /^([^.[]*)(.*)$/s.exec(name) ?? ['', '', ''];
    let value = this.#first(first);
    for (const [, attribute, item] of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
      const key = /^\d+$/.test(item ?? '') ? Number(item) : item;
      value = attribute !== undefined ? this.#reader.attribute(value, attribute) : this.#reader.item(value, key);
    }
    return value;
  }

  #first(name: string): Value {
    if (name !== '' && !/^\d+$/.test(name)) {
      const value = this.#kwargs.get(name);
      if (value === undefined) throw new TemplateError(`KeyError: ${repr(name)}`);
      return value;
    }
    if ((name === '') !== (this.#next !== undefined) && this.#next !== 0) {
      throw new TemplateError('cannot switch between manual field specification and automatic field numbering');
    }
    const index = name === '' ? (this.#next ?? 0) : Number(name);
    this.#next = name === '' ? index + 1 : undefined;
    const value = this.#args[index];
    if (value === undefined) throw new TemplateError('Replacement index out of range for positional args tuple');
    return value;
  }
}

function closing(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i;
  }
  throw new TemplateError("expected '}' before end of string");
}

const SPEC =
  /^(?:(?<fill>.)?(?<align>[<>=^]))?(?<sign>[-+ ])?(?<alternative>#)?(?<zeros>0)?(?<width>\d+)?(?<group>[,_])?(?:\.(?<precision>\d+))?(?<type>[a-zA-Z%])?$/su;

/** format() of Python, for texts and numbers. */
function formatValue(value: Value, spec: string): string {
  if (spec === '') return str(value);
  const match = SPEC.exec(spec);
  if (match?.groups === undefined) throw new TemplateError('Invalid format specifier');
  const {
    fill,
    align,
    sign = '-',
    alternative,
    zeros,
    width,
    group,
    precision,
    type,
  } = match.groups as Readonly<Record<string, string | undefined>>;
  const columns = Number(width ?? 0);
  const places = precision === undefined ? undefined : Number(precision);
  checkWidth(columns);
  checkWidth(places ?? 0);
  if (typeof value === 'string') {
    if (type !== undefined && type !== 's') throw unknownCode(type, value);
    if (sign !== '-' || group !== undefined || align === '=')
      throw new TemplateError('Invalid format specifier for a str');
    const text = places === undefined ? value : [...value].slice(0, places).join('');
    return aligned(text, columns, align ?? '<', fill ?? (zeros ? '0' : ' '));
  }
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(`unsupported format string passed to ${typeName(value)}.__format__`);
  }
  const negative = Number(number) < 0 || Object.is(Number(number), -0);
  const digits = grouped(numberText(value, number, type, places, alternative !== undefined), group);
  const mark = negative ? '-' : sign === '-' ? '' : sign;
  const how = align ?? (zeros ? '=' : '>');
  const filler = fill ?? (zeros ? '0' : ' ');
  if (how !== '=') return aligned(mark + digits, columns, how, filler);
  return mark + pad(digits, columns - mark.length, 'left', filler);
}

function numberText(
  value: Value,
  number: number | bigint,
  type: string | undefined,
  places: number | undefined,
  alternative: boolean,
): string {
  if (isInt(value) || typeof value === 'boolean') {
    const size = BigInt(number) < 0n ? -BigInt(number) : BigInt(number);
    if (type === undefined || type === 'd' || type === 'n') return size.toString();
    const radix = { b: 2, o: 8, x: 16, X: 16 }[type];
    if (radix !== undefined) {
      const digits = (alternative ? `0${type.toLowerCase()}` : '') + size.toString(radix);
      return type === 'X' ? digits.toUpperCase() : digits;
    }
    if (type === 'c') return String.fromCodePoint(Number(number));
  }
  const size = Math.abs(Number(number));
  if (type === '%') return `${lowerFloatText(size * 100, 'f', places ?? 6, alternative)}%`;
  if (type === undefined) {
    if (places === undefined) return floatRepr(size);
    const text = lowerFloatText(size, 'g', places, alternative);
    return /^\d+$/.test(text) && text.length < places ? `${text}.0` : text;
  }
  if (type === 'n') return floatText(size, 'g', places ?? 6, alternative);
  if ('eEfFgG'.includes(type)) return floatText(size, type, places ?? 6, alternative);
  throw unknownCode(type, value);
}

function grouped(digits: string, group: string | undefined): string {
  if (group === undefined) return digits;
  const [, whole, rest] = /^(\d*)(.*)$/s.exec(digits) ?? ['', digits, ''];
  return whole.replace(/\B(?=(\d{3})+$)/g, group) + rest;
}

function aligned(text: string, width: number, align: string, fill: string): string {
  if (align !== '^') return pad(text, width, align === '<' ? 'right' : 'left', fill);
  const missing = Math.max(0, width - codePoints(text).length);
  return fill.repeat(missing >> 1) + text + fill.repeat(missing - (missing >> 1));
}

function unknownCode(type: string, value: Value): TemplateError {
  return new TemplateError(`Unknown format code '${type}' for object of type '${typeName(value)}'`);
}

function checkWidth(width: number): void {
  if (width > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
}
