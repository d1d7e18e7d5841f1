import { literal, oneOf } from './ebnf.ts';

/** Digits of a number before and after its point, at most: what float64 holds exactly. */
export const MAX_DIGITS = 15;

const LARGEST = 10n ** BigInt(MAX_DIGITS) - 1n;

/** Bounds of a number: undefined is none. */
export interface NumberBounds {
  readonly min: number | undefined;
  readonly max: number | undefined;
  readonly isMinExcluded: boolean;
  readonly isMaxExcluded: boolean;
}

/** Expression for the integers within bounds; undefined where there is none. */
export function integersWithin(bounds: NumberBounds): string | undefined {
  return scaledWithin(bounds, 0);
}

/**
 * Expression for numbers within bounds; undefined where there is none. Not all of them: with bounds that are integers, those
 * whose decimals can be any; with others, those with a fixed number of decimals.
 */
export function numbersWithin(bounds: NumberBounds): string | undefined {
  const { min, max, isMinExcluded, isMaxExcluded } = bounds;
  const isExcluded = isMinExcluded || isMaxExcluded;
  const decimals = Math.max(decimalsOf(min), decimalsOf(max));
  if (isExcluded || decimals > 0) return scaledWithin(bounds, Math.min(decimals + (isExcluded ? 2 : 0), 12));
  const low = toInteger(min, -LARGEST, Math.ceil);
  const high = toInteger(max, LARGEST, Math.floor);
  const fraction = `"." [0-9]{1,${MAX_DIGITS}}`;
  const alternatives = [
    integersBetween(low, high),
    // n.d lies between n and n + 1, and -n.d between -n - 1 and -n.
    withFraction('', naturalsBetween(low > 0n ? low : 0n, high - 1n), fraction),
    withFraction('"-" ', naturalsBetween(high < 0n ? -high : 0n, -low - 1n), fraction),
  ].flatMap((each) => each ?? []);
  return alternatives.length === 0 ? undefined : oneOf(alternatives);
}

function withFraction(sign: string, whole: string | undefined, fraction: string): string | undefined {
  return whole === undefined ? undefined : `${sign}${whole} ${fraction}`;
}

/** Numbers with exactly so many decimals. */
function scaledWithin({ min, max, isMinExcluded, isMaxExcluded }: NumberBounds, decimals: number): string | undefined {
  const limit = LARGEST;
  const low = min === undefined ? -limit : scaled(min, decimals, isMinExcluded, 1n);
  const high = max === undefined ? limit : scaled(max, decimals, isMaxExcluded, -1n);
  return integersBetween(low < -limit ? -limit : low, high > limit ? limit : high, decimals);
}

/** The first integer at or beyond a bound, in units of the last decimal. */
function scaled(bound: number, decimals: number, isExcluded: boolean, direction: 1n | -1n): bigint {
  const [sign, digits, exponent] = partsOf(bound);
  const shift = exponent + decimals;
  const power = 10n ** BigInt(Math.min(Math.abs(shift), 400));
  const exact = shift >= 0 ? digits * power : digits / power;
  const isWhole = shift >= 0 || digits % power === 0n;
  const truncated = sign * exact;
  if (isWhole) return isExcluded ? truncated + direction : truncated;
  // Division drops the decimals: towards zero.
  const isInside = direction === 1n ? sign < 0n : sign > 0n;
  return isInside ? truncated : truncated + direction;
}

/** A number as sign × digits × 10^exponent. */
function partsOf(value: number): readonly [sign: bigint, digits: bigint, exponent: number] {
  const [mantissa, exponent = '0'] = Math.abs(value).toExponential().split('e');
  const [whole, fraction = ''] = mantissa.split('.');
  return [value < 0 ? -1n : 1n, BigInt(whole + fraction), Number(exponent) - fraction.length];
}

function decimalsOf(bound: number | undefined): number {
  if (bound === undefined) return 0;
  const [, digits, exponent] = partsOf(bound);
  return digits === 0n ? 0 : Math.max(0, -exponent);
}

function toInteger(bound: number | undefined, fallback: bigint, round: (value: number) => number): bigint {
  if (bound === undefined) return fallback;
  const integer = BigInt(round(bound));
  if (integer > LARGEST) return LARGEST;
  return integer < -LARGEST ? -LARGEST : integer;
}

function integersBetween(low: bigint, high: bigint, decimals = 0): string | undefined {
  const positive = naturalsBetween(low > 0n ? low : 0n, high, decimals);
  const negative = naturalsBetween(high < 0n ? -high : 1n, -low, decimals);
  const found = [positive, negative && `"-" ${negative}`].flatMap((each) => each ?? []);
  return found.length === 0 ? undefined : oneOf(found);
}

/** Natural numbers from `low` to `high`, with a point before the last `decimals` digits. */
function naturalsBetween(low: bigint, high: bigint, decimals = 0): string | undefined {
  if (low > high) return undefined;
  const found: string[] = [];
  const width = (value: bigint) => Math.max(value.toString().length, decimals + 1);
  for (let digits = width(low); digits <= width(high); digits++) {
    const first = digits === decimals + 1 ? 0n : 10n ** BigInt(digits - 1);
    const last = 10n ** BigInt(digits) - 1n;
    const from = (low > first ? low : first).toString().padStart(digits, '0');
    const to = (high < last ? high : last).toString().padStart(digits, '0');
    found.push(sameLength(from, to, digits - decimals));
  }
  return oneOf(found);
}

/** Texts of digits from one to another of the same length. `point`: number of digits before the decimal point. */
function sameLength(from: string, to: string, point: number): string {
  const dot = point === 0 ? '"." ' : '';
  if (from === '') return '""';
  if (/^0*$/.test(from) && /^9*$/.test(to)) return anyDigits(from.length, point);
  if (from[0] === to[0]) return join(dot + literal(from[0]), sameLength(from.slice(1), to.slice(1), point - 1));
  const rest = from.length - 1;
  const [zeros, nines] = ['0'.repeat(rest), '9'.repeat(rest)];
  let [low, high] = [Number(from[0]), Number(to[0])];
  const parts: string[] = [];
  if (from.slice(1) !== zeros) parts.push(join(literal(`${low++}`), sameLength(from.slice(1), nines, point - 1)));
  const top = to.slice(1) === nines ? undefined : join(literal(`${high--}`), sameLength(zeros, to.slice(1), point - 1));
  if (low <= high) parts.push(join(`[${low}-${high}]`, anyDigits(rest, point - 1)));
  if (top !== undefined) parts.push(top);
  return dot + oneOf(parts);
}

function anyDigits(count: number, point: number): string {
  if (count === 0) return '""';
  if (point < 0 || point >= count) return `[0-9]{${count}}`;
  if (point === 0) return `"." [0-9]{${count}}`;
  return `[0-9]{${point}} "." [0-9]{${count - point}}`;
}

function join(first: string, rest: string): string {
  return rest === '""' ? first : `${first} ${rest}`;
}
