import { attributeOf } from './attributes.ts';
import { formatPercent } from './format.ts';
import { arithmetic, type BinaryOperator } from './numbers.ts';
import { asNumber, Dict, Func, isList, iterate, Markup, plain, str, Tuple, Undefined, type Value } from './values.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

/** A value's text without characters that mean something in HTML. A markup stays as it is. */
export function escaped(value: Value): string {
  return value instanceof Markup ? value.text : str(value).replace(/[&<>'"]/g, (character) => ENTITIES[character]);
}

/** `left operator right`, one of which is a markup. */
export function markupArithmetic(operator: BinaryOperator, left: Value, right: Value): Value {
  const isText = [left, right].every((each) => typeof each === 'string' || each instanceof Markup);
  if (operator === '+' && isText) return new Markup(escaped(left) + escaped(right));
  if (operator === '%' && left instanceof Markup && !(right instanceof Undefined)) {
    return new Markup(formatPercent(left.text, escapedOperand(right)));
  }
  const result = operator === '%' && typeof left === 'string' ? formatPercent(left, right) : undefined;
  return result ?? markupOf(arithmetic(operator, plain(left), plain(right)));
}

/** An attribute or a method of a markup. Texts that a method makes are markups, and those that it adds are escaped. */
export function attributeOfMarkup({ text }: Markup, name: string): Value {
  const found = attributeOf(text, name);
  if (!(found instanceof Func)) return found;
  return new Func(name, (args, kwargs) => {
    const given = args.map((arg, i) => {
      if (name === 'join') return Array.from(iterate(arg), escaped);
      return name === 'format' || (name === 'replace' && i === 1) ? escapedOperand(arg) : plain(arg);
    });
    const named = new Map([...kwargs].map(([key, value]) => [key, name === 'format' ? escapedOperand(value) : value]));
    return markupOf(found.call(given, named));
  });
}

/** Markups in place of a value's texts. */
export function markupOf(value: Value): Value {
  if (typeof value === 'string') return new Markup(value);
  if (isList(value)) return value.map(markupOf);
  return value instanceof Tuple ? new Tuple(value.items.map(markupOf)) : value;
}

/** What is put into a markup's places: numbers as they are, texts and others escaped. */
function escapedOperand(value: Value): Value {
  if (value instanceof Tuple) return new Tuple(value.items.map(escapedOperand));
  if (value instanceof Dict) return new Dict([...value.entries()].map(([key, each]) => [key, escapedOperand(each)]));
  return asNumber(value) === undefined ? escaped(value) : value;
}
