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
  // n.d lies between n and n + 1, and -n.d between -n - 1 and -n: the last of either has no fraction.
  return signed(
    [...naturals(low > 0n ? low : 0n, high - 1n, 0, FRACTION), ...naturals(low > 0n ? low : 0n, high)],
    [...naturals(high < 0n ? -high : 0n, -low - 1n, 0, FRACTION), ...naturals(high < 0n ? -high : 1n, -low)],
  );
}

/** Decimals that may follow a whole number. */
const FRACTION = `"." [0-9]{1,${MAX_DIGITS}}`;

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
  return signed(naturals(low > 0n ? low : 0n, high, decimals), naturals(high < 0n ? -high : 1n, -low, decimals));
}

/** Expression for numbers, and for negative ones by their magnitudes; undefined where there is none. */
function signed(positive: readonly Digits[], negative: readonly Digits[]): string | undefined {
  const found = [
    ...(positive.length === 0 ? [] : [factored(positive)]),
    ...(negative.length === 0 ? [] : [`"-" ${factored(negative)}`]),
  ];
  return found.length === 0 ? undefined : oneOf(found);
}

/** Texts of digits from one to another of the same length, in their order. */
interface Digits {
  readonly from: string;
  readonly to: string;
  /** Digits before the decimal point; Infinity: there is none. */
  readonly point: number;
  /** Expression that follows; empty: nothing does. */
  readonly tail: string;
}

/** Natural numbers from `low` to `high`, by their lengths, with a point before the last `decimals` digits. */
function naturals(low: bigint, high: bigint, decimals = 0, tail = ''): Digits[] {
  if (low > high) return [];
  const found: Digits[] = [];
  const width = (value: bigint) => Math.max(value.toString().length, decimals + 1);
  for (let digits = width(low); digits <= width(high); digits++) {
    const first = digits === decimals + 1 ? 0n : 10n ** BigInt(digits - 1);
    const last = 10n ** BigInt(digits) - 1n;
    const from = (low > first ? low : first).toString().padStart(digits, '0');
    const to = (high < last ? high : last).toString().padStart(digits, '0');
    found.push({ from, to, point: decimals === 0 ? Number.POSITIVE_INFINITY : digits - decimals, tail });
  }
  return found;
}

/**
 * Expression for one of some texts of digits. Its alternatives begin with different characters everywhere: of several that
 * begin alike, XGrammar takes texts that none of them is.
 */
function factored(texts: readonly Digits[]): string {
  const ended = texts.filter(({ from }) => from === '');
  const tails = new Set(ended.map(({ tail }) => tail));
  const pointed = texts.filter(({ from, point }) => from !== '' && point === 0);
  const parts = [...tails].filter((tail) => tail !== '');
  if (pointed.length > 0) parts.push(`"." ${factored(pointed.map((each) => ({ ...each, point: -1 })))}`);
  parts.push(...byFirstDigit(texts.filter(({ from, point }) => from !== '' && point !== 0)));
  if (parts.length === 0) return '""';
  return tails.has('') ? `(${parts.join(' | ')})?` : oneOf(parts);
}

/** Expressions for texts by their first digits; digits with the same after them are one class. */
function byFirstDigit(texts: readonly Digits[]): string[] {
  const groups = new Map<string, { readonly rests: readonly Digits[]; digits: string }>();
  for (let digit = 0; digit <= 9; digit++) {
    const rests = texts.flatMap((each) => restAfter(digit, each));
    if (rests.length === 0) continue;
    const key = JSON.stringify(rests);
    const group = groups.get(key) ?? { rests, digits: '' };
    groups.set(key, group);
    group.digits += digit;
  }
  return [...groups.values()].map(({ rests, digits }) =>
    join(digits.length === 1 ? literal(digits) : `[${digits}]`, factored(rests)),
  );
}

/** The texts that begin with a digit, without it. */
function restAfter(digit: number, { from, to, point, tail }: Digits): readonly Digits[] {
  const [least, most] = [Number(from[0]), Number(to[0])];
  if (digit < least || digit > most) return [];
  const rest = from.length - 1;
  const low = digit === least ? from.slice(1) : '0'.repeat(rest);
  const high = digit === most ? to.slice(1) : '9'.repeat(rest);
  return [{ from: low, to: high, point: point - 1, tail }];
}

function join(first: string, rest: string): string {
  return rest === '""' ? first : `${first} ${rest}`;
}
