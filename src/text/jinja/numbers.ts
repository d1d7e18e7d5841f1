import {
  asNumber,
  Float,
  isInt,
  isList,
  MAX_LENGTH,
  normal,
  repr,
  TemplateError,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** Approximate decimal digits of the largest int: Python also refuses to print longer ones. */
const MAX_BITS = 2 ** 14;

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';

/** The result of an operator, as in Python; the caller handles `%` on a text. */
export function arithmetic(operator: BinaryOperator, left: Value, right: Value): Value {
  for (const operand of [left, right]) if (operand instanceof Undefined) operand.fail();
  const [x, y] = [asNumber(left), asNumber(right)];
  if (x !== undefined && y !== undefined) {
    if (left instanceof Float || right instanceof Float) return floats(operator, Number(x), Number(y));
    return integers(operator, x, y);
  }
  if (operator === '+') return concatenated(left, right);
  if (operator === '*') {
    if (isInt(left) || typeof left === 'boolean') return repeated(right, Number(x), left);
    if (isInt(right) || typeof right === 'boolean') return repeated(left, Number(y), right);
  }
  throw unsupported(operator, left, right);
}

function unsupported(operator: string, left: Value, right: Value): TemplateError {
  const name = operator === '**' ? '** or pow()' : operator;
  return new TemplateError(`unsupported operand type(s) for ${name}: '${typeName(left)}' and '${typeName(right)}'`);
}

function concatenated(left: Value, right: Value): Value {
  if (typeof left === 'string' && typeof right === 'string') return left + right;
  if (isList(left) && isList(right)) return [...left, ...right];
  if (left instanceof Tuple && right instanceof Tuple) return new Tuple([...left.items, ...right.items]);
  if (typeof left === 'string' || isList(left) || left instanceof Tuple) {
    const type = typeName(left);
    throw new TemplateError(`can only concatenate ${type} (not "${typeName(right)}") to ${type}`);
  }
  throw unsupported('+', left, right);
}

function repeated(value: Value, times: number, count: Value): Value {
  const count0 = Math.max(0, times);
  const length = typeof value === 'string' ? value.length : isList(value) ? value.length : 0;
  if (length * count0 > MAX_LENGTH) throw new TemplateError('The template makes a text or list that is too long.');
  if (typeof value === 'string') return value.repeat(count0);
  if (isList(value)) return Array.from({ length: count0 }, () => value).flat() as Value[];
  if (value instanceof Tuple) return new Tuple(repeated(value.items, times, count) as readonly Value[]);
  throw unsupported('*', value, count);
}

function integers(operator: BinaryOperator, x: number | bigint, y: number | bigint): Value {
  if ((operator === '/' || operator === '//' || operator === '%') && Number(y) === 0) {
    const what = { '/': 'division by zero', '//': 'integer division or modulo by zero', '%': 'integer modulo by zero' };
    throw new TemplateError(what[operator]);
  }
  if (operator === '/') return new Float(Number(x) / Number(y));
  if (operator === '**') return power(x, y);
  if (typeof x === 'number' && typeof y === 'number') {
    const small = smallIntegers(operator, x, y);
    // Without the sign of a zero, which ints do not have.
    if (Number.isSafeInteger(small)) return small + 0;
  }
  return bounded(largeIntegers(operator, BigInt(x), BigInt(y)));
}

function smallIntegers(operator: BinaryOperator, x: number, y: number): number {
  if (operator === '+') return x + y;
  if (operator === '-') return x - y;
  if (operator === '*') return x * y;
  const rest = ((x % y) + y) % y;
  return operator === '%' ? rest : (x - rest) / y;
}

function largeIntegers(operator: BinaryOperator, x: bigint, y: bigint): bigint {
  if (operator === '+') return x + y;
  if (operator === '-') return x - y;
  if (operator === '*') return x * y;
  const rest = ((x % y) + y) % y;
  return operator === '%' ? rest : (x - rest) / y;
}

function power(x: number | bigint, y: number | bigint): Value {
  if (y < 0) return floats('**', Number(x), Number(y));
  const bits = x === 0 || x === 1 || x === -1 ? 1 : BigInt(x).toString(2).length * Number(y);
  if (bits > MAX_BITS) throw new TemplateError('The template computes an integer that is too large.');
  return normal(BigInt(x) ** BigInt(y));
}

function bounded(value: bigint): number | bigint {
  const small = normal(value);
  if (typeof small === 'number' || BigInt.asIntN(MAX_BITS, value) === value) return small;
  throw new TemplateError('The template computes an integer that is too large.');
}

function floats(operator: BinaryOperator, x: number, y: number): Float {
  if (operator === '+') return new Float(x + y);
  if (operator === '-') return new Float(x - y);
  if (operator === '*') return new Float(x * y);
  if (operator === '**') return floatPower(x, y);
  if (y === 0) {
    const what = { '/': 'float division by zero', '//': 'float floor division by zero', '%': 'float modulo' };
    throw new TemplateError(what[operator]);
  }
  if (operator === '/') return new Float(x / y);
  let rest = x % y;
  if (rest !== 0 && rest < 0 !== y < 0) rest += y;
  if (rest === 0) rest = y < 0 ? -0 : 0;
  if (operator === '%') return new Float(rest);
  const quotient = (x - rest) / y;
  const whole = Math.floor(quotient);
  return new Float(quotient - whole > 0.5 ? whole + 1 : whole);
}

function floatPower(x: number, y: number): Float {
  if (x === 0 && y < 0) throw new TemplateError('0.0 cannot be raised to a negative power');
  if (x < 0 && !Number.isInteger(y)) throw new TemplateError('A power of a negative number is complex.');
  const result = x ** y;
  if (!Number.isFinite(result) && Number.isFinite(x) && Number.isFinite(y)) {
    throw new TemplateError("(34, 'Numerical result out of range')");
  }
  return new Float(result);
}

export function negated(value: Value): Value {
  if (value instanceof Float) return new Float(-value.value);
  if (value instanceof Undefined) return value.fail();
  const number = asNumber(value);
  if (number === undefined) throw new TemplateError(`bad operand type for unary -: '${typeName(value)}'`);
  return typeof number === 'bigint' ? normal(-number) : 0 - number;
}

export function posited(value: Value): Value {
  if (value instanceof Float) return value;
  if (value instanceof Undefined) return value.fail();
  const number = asNumber(value);
  if (number === undefined) throw new TemplateError(`bad operand type for unary +: '${typeName(value)}'`);
  return number;
}

/** A value that is used as an index or a count. */
export function toIndex(value: Value): number {
  if (value instanceof Undefined) value.fail();
  if (isInt(value) || typeof value === 'boolean') return Number(value);
  throw new TemplateError(`'${typeName(value)}' object cannot be interpreted as an integer`);
}

/** int() of Python. undefined: it would raise TypeError or ValueError. */
export function parseInteger(value: Value, base = 10): number | bigint | undefined {
  if (isInt(value)) return value;
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Float) {
    if (Number.isFinite(value.value)) return normal(BigInt(Math.trunc(value.value)));
    throw new TemplateError(`cannot convert float ${Number.isNaN(value.value) ? 'NaN' : 'infinity'} to integer`);
  }
  return typeof value === 'string' ? integerFromText(value, base) : undefined;
}

const PREFIXES: Readonly<Record<string, number>> = { '0x': 16, '0o': 8, '0b': 2 };

function integerFromText(text: string, base: number): number | bigint | undefined {
  const match = /^([+-]?)(0[xob])?(_?[0-9a-z]+(?:_[0-9a-z]+)*)$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, sign, prefix = '', rest] = match;
  const named = PREFIXES[prefix.toLowerCase()];
  // '0b1' is also a number of base 16, with the digits 0, b and 1.
  const isPrefix = prefix !== '' && (named === base || base === 0);
  const radix = isPrefix ? named : base === 0 ? 10 : base;
  const digits = (isPrefix ? rest : prefix + rest).replaceAll('_', '').toLowerCase();
  if (!isPrefix && (prefix + rest).startsWith('_')) return undefined;
  if (base === 0 && !isPrefix && /^0+[1-9]/.test(digits)) return undefined;
  // Python's own limit: the time grows with the square of the digits.
  if (digits.length > 4300) return undefined;
  let value = 0n;
  for (const digit of digits) {
    const number = Number.parseInt(digit, 36);
    if (number >= radix) return undefined;
    value = value * BigInt(radix) + BigInt(number);
  }
  return bounded(sign === '-' ? -value : value);
}

/** float() of Python. undefined: it would raise TypeError or ValueError. */
export function parseFloatValue(value: Value): number | undefined {
  const number = asNumber(value);
  if (number !== undefined) return Number(number);
  if (typeof value !== 'string') return undefined;
  const text = value.trim().toLowerCase();
  if (/^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?$/.test(text)) {
    return Number(text.replaceAll('_', ''));
  }
  const special = /^([+-]?)(inf(inity)?|nan)$/.exec(text);
  if (special === null) return undefined;
  const size = special[2] === 'nan' ? Number.NaN : Number.POSITIVE_INFINITY;
  return special[1] === '-' ? -size : size;
}

/** round() of Python: halves go to the even neighbour. */
export function rounded(value: Value, digits: number): Value {
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(`type ${typeName(value)} doesn't define __round__ method`);
  }
  if (!(value instanceof Float)) {
    if (digits >= 0) return number;
    const unit = 10n ** BigInt(Math.min(-digits, 400));
    const rest = ((BigInt(number) % unit) + unit) % unit;
    const down = BigInt(number) - rest;
    const up = rest * 2n > unit || (rest * 2n === unit && (down / unit) % 2n !== 0n);
    return normal(up ? down + unit : down);
  }
  return new Float(roundedFloat(value.value, digits));
}

function roundedFloat(value: number, digits: number): number {
  if (!Number.isFinite(value) || digits > 22) return value;
  if (digits < 0) {
    const unit = 10 ** -digits;
    return roundedFloat(value / unit, 0) * unit;
  }
  if (digits === 0) {
    const down = Math.floor(value);
    if (value - down !== 0.5) return Math.round(value);
    return down % 2 === 0 ? down : down + 1;
  }
  return Number(fixed(value, digits));
}

/** `value` with a number of decimals, rounded from its exact binary value, halves to the even neighbour. */
export function fixed(value: number, digits: number): string {
  if (Math.abs(value) >= 1e21 || digits > 100) return exactFixed(value, digits);
  // toFixed takes the exact value; exact halves, which it rounds up, end in …5 after few digits.
  const text = value.toFixed(digits);
  const scaled = value * 10 ** digits;
  if (
    Math.abs(scaled) < 2 ** 52 &&
    Math.abs(scaled % 1) === 0.5 &&
    scaled / 10 ** digits === value &&
    isExactHalf(value, digits)
  ) {
    const down = Math.trunc(scaled);
    const even = down % 2 === 0 ? down : down + Math.sign(scaled);
    return (even / 10 ** digits).toFixed(digits);
  }
  return text;
}

/** Whether the decimals of the exact value end right after a 5 at the next place. */
function isExactHalf(value: number, digits: number): boolean {
  const more = Math.abs(value).toFixed(Math.min(100, digits + 30));
  return /^50*$/.test(more.slice(more.indexOf('.') + 1 + digits));
}

function exactFixed(value: number, digits: number): string {
  const whole = BigInt(Math.trunc(value)).toString();
  return digits === 0 ? whole : `${whole}.${'0'.repeat(digits)}`;
}

/** A value as error messages quote it: 80 characters at most. */
export function shown(value: Value): string {
  const text = repr(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
