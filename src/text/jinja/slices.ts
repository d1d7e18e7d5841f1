import { toIndex } from './numbers.ts';
import { codePoints, isList, Range, TemplateError, Tuple, type Value } from './values.ts';

/** An end of a slice within a length; negative ones count from the end. */
export function adjusted(index: Value, otherwise: number, length: number, least = 0, most = length): number {
  if (index === null) return otherwise;
  const number = toIndex(index);
  return Math.min(Math.max(number < 0 ? number + length : number, least), most);
}

/** `value[start:stop:step]`; undefined if the value has no items by number. */
export function slice(value: Value, start: Value, stop: Value, step: Value): Value | undefined {
  if (typeof value === 'string') {
    const units = codePoints(value);
    const range = indices(units.length, start, stop, step);
    if (typeof units === 'string' && range.step === 1)
      return units.slice(range.start, Math.max(range.start, range.stop));
    return picked(range, (i) => units[i]).join('');
  }
  if (isList(value)) return picked(indices(value.length, start, stop, step), (i) => value[i]);
  if (value instanceof Tuple) {
    const { items } = value;
    return new Tuple(picked(indices(items.length, start, stop, step), (i) => items[i]));
  }
  if (!(value instanceof Range)) return undefined;
  const range = indices(value.length, start, stop, step);
  return new Range(value.at(range.start), value.at(range.stop), value.step * range.step);
}

function indices(length: number, start: Value, stop: Value, step: Value): Range {
  const by = step === null ? 1 : toIndex(step);
  if (by === 0) throw new TemplateError('slice step cannot be zero');
  if (by > 0) return new Range(adjusted(start, 0, length), adjusted(stop, length, length), by);
  const from = adjusted(start, length - 1, length, -1, length - 1);
  return new Range(from, adjusted(stop, -1, length, -1, length - 1), by);
}

function picked<T>(range: Range, at: (index: number) => T): T[] {
  return Array.from({ length: range.length }, (_, i) => at(range.at(i)));
}
