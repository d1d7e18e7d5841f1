import { literal, oneOf } from './ebnf.ts';
import { integersWithin, type NumberBounds } from './number-range.ts';

/** Multiples that are listed one by one. */
const MAX_LISTED = 1000;

/** Last digits that tell the multiples, at most. */
const MAX_ENDING = 3;

/**
 * Expression for the integers within bounds that are multiples of a number: few of them, or those that their last digits tell, as of
 * 5 or 100. Empty: there are none. Undefined: others are not supported.
 */
export function multiplesWithin(step: number, bounds: NumberBounds): string | undefined {
  if (!Number.isSafeInteger(step) || step <= 0) return undefined;
  const range = integersWithin(bounds);
  if (range === undefined || step === 1) return range ?? '';
  return listed(step, bounds) ?? byEnding(step, range);
}

function listed(step: number, { min, max, isMinExcluded, isMaxExcluded }: NumberBounds): string | undefined {
  if (min === undefined || max === undefined || (max - min) / step > MAX_LISTED) return undefined;
  const found: string[] = [];
  for (let count = Math.ceil(min / step); count * step <= max; count++) {
    const value = count * step;
    const isIn = !(isMinExcluded && value === min) && !(isMaxExcluded && value === max);
    if (isIn) found.push(literal(JSON.stringify(value === 0 ? 0 : value)));
  }
  return found.length === 0 ? '' : oneOf(found);
}

function byEnding(step: number, range: string): string | undefined {
  for (let digits = 1; digits <= MAX_ENDING; digits++) {
    const power = 10 ** digits;
    if (power % step !== 0) continue;
    const values = Array.from({ length: power / step }, (_, i) => `${i * step}`);
    const endings = oneOf(values.map((value) => literal(value.padStart(digits, '0'))));
    return `(${range}) & ("-"? ([0-9]* ${endings} | ${oneOf(values.map(literal))}))`;
  }
  return undefined;
}
