import { CallArguments } from './call-arguments.ts';
import { Loop } from './loop.ts';
import { arithmetic } from './numbers.ts';
import { isLower, isUpper } from './strings.ts';
import {
  asNumber,
  contains,
  Dict,
  equals,
  Float,
  Func,
  isInt,
  isIterable,
  isList,
  type Kwargs,
  Markup,
  ordered,
  plain,
  Range,
  str,
  TemplateError,
  Tuple,
  Undefined,
  type Value,
} from './values.ts';

type Test = (value: Value, other: Value) => boolean;

const remainder = (value: Value, by: Value) => arithmetic('%', value, by);
const less: Test = (value, other) => ordered(value, '<', other);
const greater: Test = (value, other) => ordered(value, '>', other);
const atMost: Test = (value, other) => ordered(value, '<=', other);
const atLeast: Test = (value, other) => ordered(value, '>=', other);
const differs: Test = (value, other) => !equals(value, other);

const TESTS: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['odd', (value) => equals(remainder(value, 2), 1)],
  ['even', (value) => equals(remainder(value, 2), 0)],
  ['defined', (value) => !(value instanceof Undefined)],
  ['undefined', (value) => value instanceof Undefined],
  ['none', (value) => value === null],
  ['boolean', (value) => typeof value === 'boolean'],
  ['false', (value) => value === false],
  ['true', (value) => value === true],
  ['integer', isInt],
  ['float', (value) => value instanceof Float],
  ['number', (value) => asNumber(value) !== undefined],
  ['lower', (value) => isLower(str(value))],
  ['upper', (value) => isUpper(str(value))],
  ['string', (value) => typeof value === 'string'],
  ['mapping', (value) => value instanceof Dict],
  ['sequence', isSequence],
  ['iterable', (value) => isIterable(value) || value instanceof Loop],
  ['callable', (value) => value instanceof Func || value instanceof Undefined],
  ['filter', (value) => typeof value === 'string' && FILTER_NAMES.has(value)],
  ['test', (value) => typeof value === 'string' && hasTest(value)],
]);

const TESTS_OF_TWO: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['divisibleby', (value, by) => equals(remainder(value, by), 0)],
  ['sameas', (value, other) => Object.is(value, other)],
  ['in', (value, container) => contains(container, value)],
  ...['==', 'eq', 'equalto'].map((name) => [name, equals] as const),
  ...['!=', 'ne'].map((name) => [name, differs] as const),
  ...['<', 'lt', 'lessthan'].map((name) => [name, less] as const),
  ...['>', 'gt', 'greaterthan'].map((name) => [name, greater] as const),
  ...['<=', 'le'].map((name) => [name, atMost] as const),
  ...['>=', 'ge'].map((name) => [name, atLeast] as const),
]);

/** Names of Jinja's own filters, for the test 'filter'. */
const FILTER_NAMES: ReadonlySet<string> = new Set(
  (
    'abs attr batch capitalize center count d default dictsort e escape first float forceescape format groupby indent ' +
    'int items join last length list lower map max min random reject rejectattr replace reverse round safe select ' +
    'selectattr slice sort string sum title tojson trim truncate unique upper urlencode wordcount'
  ).split(' '),
);

/** Whether `value is name(…)`. @throws TemplateError if there is no such test. */
export function runTest(name: string, given: Value, args: readonly Value[], kwargs: Kwargs): boolean {
  if (name === 'escaped' && args.length === 0) return given instanceof Markup;
  const value = plain(given);
  const test = TESTS.get(name);
  if (test !== undefined) {
    new CallArguments(`test '${name}'`, [], args, kwargs);
    return test(value, null);
  }
  const testOfTwo = TESTS_OF_TWO.get(name);
  if (testOfTwo === undefined) throw new TemplateError(`No test named '${name}'.`);
  const parameter = { divisibleby: 'num', in: 'seq' }[name] ?? 'other';
  return testOfTwo(value, new CallArguments(`test '${name}'`, [parameter], args, kwargs).value(parameter));
}

function hasTest(name: string): boolean {
  return name === 'escaped' || TESTS.has(name) || TESTS_OF_TWO.has(name);
}

/** Whether a value has a length and items by key. */
function isSequence(value: Value): boolean {
  return (
    typeof value === 'string' || isList(value) || [Tuple, Dict, Range, Undefined].some((type) => value instanceof type)
  );
}
