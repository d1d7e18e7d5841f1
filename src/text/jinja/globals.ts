import { CallArguments } from './call-arguments.ts';
import { Cycler, joiner } from './loop.ts';
import { toIndex } from './numbers.ts';
import { strftime } from './strftime.ts';
import { Dict, Func, iterate, type Kwargs, Namespace, Range, str, TemplateError, type Value } from './values.ts';

/** The longest range that Jinja's sandbox allows. */
const MAX_RANGE = 100_000;

/** Functions that every template can call: those of Jinja and of transformers. */
export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>(
  Object.entries({
    range,
    dict: (args: readonly Value[], kwargs: Kwargs) => dict(args, kwargs),
    namespace: (args: readonly Value[], kwargs: Kwargs) => new Namespace(dict(args, kwargs)),
    cycler: (args: readonly Value[]) => new Cycler(args),
    joiner,
    raise_exception: raise,
    strftime_now: now,
  }).map(([name, call]) => [name, new Func(name, call)]),
);

function range(args: readonly Value[]): Value {
  const [first = 0, second, third = 1] = args.map(toIndex);
  if (args.length === 0 || args.length > 3)
    throw new TemplateError(`range expected 1 to 3 arguments, got ${args.length}`);
  if (third === 0) throw new TemplateError('range() arg 3 must not be zero');
  const made = second === undefined ? new Range(0, first, 1) : new Range(first, second, third);
  if (made.length <= MAX_RANGE) return made;
  throw new TemplateError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
}

function dict(args: readonly Value[], kwargs: Kwargs): Dict {
  const made = new Dict();
  const [from] = args;
  if (args.length > 1) throw new TemplateError(`dict expected at most 1 argument, got ${args.length}`);
  if (from instanceof Dict) for (const [key, value] of from.entries()) made.set(key, value);
  else if (from !== undefined) {
    for (const pair of iterate(from)) {
      const [key, value, ...rest] = iterate(pair);
      if (value === undefined || rest.length > 0) throw new TemplateError('dictionary update sequence needs pairs');
      made.set(key, value);
    }
  }
  for (const [key, value] of kwargs) made.set(key, value);
  return made;
}

/** `raise_exception`, with which templates refuse a conversation. */
function raise(args: readonly Value[], kwargs: Kwargs): never {
  throw new TemplateError(str(new CallArguments('raise_exception', ['message'], args, kwargs).value('message')));
}

function now(args: readonly Value[], kwargs: Kwargs): Value {
  return strftime(new Date(), new CallArguments('strftime_now', ['format'], args, kwargs).text('format'));
}
