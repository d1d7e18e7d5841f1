import { attributeOf, itemOf } from './attributes.ts';
import { type FilterContext, runFilter } from './filters.ts';
import { formatPercent } from './format.ts';
import { GLOBALS } from './globals.ts';
import { Loop } from './loop.ts';
import { attributeOfMarkup, markupArithmetic, markupOf } from './markup.ts';
import type { Arguments, Comparison, Expression, MacroNode, Statement, Target } from './nodes.ts';
import { arithmetic, negated, posited } from './numbers.ts';
import { slice } from './slices.ts';
import { runTest } from './tests.ts';
import {
  contains,
  countValues,
  Dict,
  equals,
  Func,
  isList,
  iterate,
  type Kwargs,
  MAX_LENGTH,
  Markup,
  Namespace,
  NO_KWARGS,
  ordered,
  orElse,
  plain,
  repr,
  str,
  TemplateError,
  Tuple,
  truthy,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** A scope: names and their values, inside an outer scope. */
class Scope {
  readonly #names = new Map<string, Value>();
  readonly #outer: Scope | undefined;

  constructor(outer?: Scope) {
    this.#outer = outer;
  }

  get(name: string): Value | undefined {
    return orElse(this.#names.get(name), () => this.#outer?.get(name));
  }

  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

/** End of a body: regular, or early. */
type Ending = 'break' | 'continue' | undefined;

class Macro extends Func {
  override readonly typeName = 'Macro';
  readonly #node: MacroNode;

  constructor(node: MacroNode, call: Func['call']) {
    super(node.name, call);
    this.#node = node;
  }

  override repr(): string {
    return `<Macro ${repr(this.name)}>`;
  }

  override attribute(name: string): Value | undefined {
    if (name === 'name') return this.name;
    return name === 'arguments' ? new Tuple(this.#node.parameters.map((parameter) => parameter.name)) : undefined;
  }
}

/** Characters that count as one step. */
const CHARACTERS_PER_STEP = 64;
/** Items of a list that count as one step. */
const ITEMS_PER_STEP = 2;

/**
 * Filters that look at no more of a value than its items, or not at all of them: the others may go through all that is
 * inside.
 */
const SHALLOW_FILTERS: ReadonlySet<string> = new Set(
  (
    'abs attr batch count d default first float int items last length list map random reject rejectattr reverse round ' +
    'select selectattr slice'
  ).split(' '),
);

/** Runs a template once. */
export class Interpreter implements FilterContext {
  readonly #root = new Scope();
  /** Names that the template sets outside loops and macros: all that a block sees unless it is scoped. */
  readonly #top = new Scope(this.#root);
  #output: string[] = [];
  #stepsLeft: number;

  /** @param steps the most steps that it may take: an expression, an item of a loop or some characters are one step. */
  constructor(variables: Iterable<readonly [string, Value]>, steps: number) {
    this.#stepsLeft = steps;
    for (const [name, value] of variables) this.#root.set(name, value);
  }

  /** @throws TemplateError */
  run(template: readonly Statement[]): string {
    this.#body(template, this.#top);
    return this.#output.join('');
  }

  spend(steps: number): void {
    this.#stepsLeft -= steps;
    if (this.#stepsLeft < 0) throw new TemplateError('The template takes too many steps; it may never end.');
  }

  filter(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): Value {
    if (!SHALLOW_FILTERS.has(name)) this.#weigh(value);
    else if (isList(value)) this.spend(value.length / CHARACTERS_PER_STEP);
    for (const arg of args) this.#weigh(arg);
    return this.#counted(runFilter(name, value, args, kwargs, this));
  }

  test(name: string, value: Value, args: readonly Value[], kwargs: Kwargs): boolean {
    for (const arg of args) this.#weigh(arg);
    return runTest(name, value, args, kwargs);
  }

  // --- Statements -------------------------------------------------------------------------------------------------

  #body(statements: readonly Statement[], scope: Scope): Ending {
    for (const statement of statements) {
      const ending = this.#statement(statement, scope);
      if (ending !== undefined) return ending;
    }
    return undefined;
  }

  #statement(statement: Statement, scope: Scope): Ending {
    this.spend(1);
    try {
      return this.#run(statement, scope);
    } catch (error) {
      if (error instanceof TemplateError) error.line ??= statement.line;
      throw error;
    }
  }

  #run(statement: Statement, scope: Scope): Ending {
    switch (statement.kind) {
      case 'text':
        this.#write(statement.text);
        return undefined;
      case 'output':
        this.#write(this.#text(this.#evaluate(statement.value, scope)));
        return undefined;
      case 'if': {
        const branch = statement.branches.find(([test]) => truthy(this.#evaluate(test, scope)));
        return this.#body(branch?.[1] ?? statement.otherwise, scope);
      }
      case 'for':
        this.#for(statement, this.#evaluate(statement.over, scope), scope, 0);
        return undefined;
      case 'break':
      case 'continue':
        return statement.kind;
      case 'set':
        this.#assign(statement.target, this.#evaluate(statement.value, scope), scope);
        return undefined;
      case 'set block':
        this.#assign(statement.target, this.#filteredBody(statement, scope), scope);
        return undefined;
      case 'filter block':
        this.#write(str(this.#filteredBody(statement, scope)));
        return undefined;
      case 'with': {
        const inner = new Scope(scope);
        for (const [target, value] of statement.values) this.#assign(target, this.#evaluate(value, scope), inner);
        return this.#body(statement.body, inner);
      }
      case 'macro':
        scope.set(statement.macro.name, this.#macro(statement.macro, scope));
        return undefined;
      case 'call block': {
        const caller = this.#macro(statement.caller, scope);
        this.#write(str(this.#call(statement.call, scope, [['caller', caller]])));
        return undefined;
      }
      case 'block':
        return this.#body(statement.body, new Scope(statement.scoped ? scope : this.#top));
    }
  }

  #write(text: string): void {
    this.spend(text.length / CHARACTERS_PER_STEP);
    this.#output.push(text);
  }

  /** The output of a body. */
  #captured(write: () => void): string {
    const outer = this.#output;
    this.#output = [];
    try {
      write();
      return this.#output.join('');
    } finally {
      this.#output = outer;
    }
  }

  #filteredBody({ filter, body }: { readonly filter: Expression; readonly body: readonly Statement[] }, scope: Scope) {
    const text = this.#captured(() => this.#body(body, new Scope(scope)));
    return this.#evaluate(filter, scope, text);
  }

  #for(loop: Statement & { kind: 'for' }, over: Value, scope: Scope, depth: number): void {
    const { target, test, body, otherwise, recursive } = loop;
    const recurse = (inner: Value, at: number) => this.#captured(() => this.#for(loop, inner, scope, at));
    const items = test === undefined ? iterate(over) : this.#filtered(iterate(over), target, test, scope);
    const context = new Loop(test === undefined ? over : null, items, depth, recursive ? recurse : undefined);
    // As Jinja compiles it: a first item that the body leaves early does not count.
    let isEmpty = true;
    for (let next = context.next(); next !== undefined; next = context.next()) {
      this.spend(1);
      const inner = new Scope(scope);
      inner.set('loop', context);
      this.#assign(target, next.item, inner);
      const ending = this.#body(body, inner);
      if (ending === 'break') break;
      isEmpty &&= ending !== undefined;
    }
    if (isEmpty) this.#body(otherwise, new Scope(scope));
  }

  *#filtered(items: Iterable<Value>, target: Target, test: Expression, scope: Scope): Iterable<Value> {
    for (const item of items) {
      this.spend(1);
      const inner = new Scope(scope);
      this.#assign(target, item, inner);
      if (truthy(this.#evaluate(test, inner))) yield item;
    }
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === 'name') {
      scope.set(target.name, value);
      return;
    }
    if (target.kind === 'namespace') {
      const namespace = scope.get(target.name);
      if (!(namespace instanceof Namespace)) {
        throw new TemplateError('cannot assign attribute on non-namespace object');
      }
      namespace.attributes.set(target.attribute, value);
      return;
    }
    const items = [...iterate(value)];
    const { length } = target.items;
    if (items.length > length) throw new TemplateError(`too many values to unpack (expected ${length})`);
    if (items.length < length) {
      throw new TemplateError(`not enough values to unpack (expected ${length}, got ${items.length})`);
    }
    for (const [i, item] of target.items.entries()) this.#assign(item, items[i], scope);
  }

  // --- Macros -----------------------------------------------------------------------------------------------------

  #macro(macro: MacroNode, scope: Scope): Func {
    return new Macro(macro, (args, kwargs) => {
      const inner = new Scope(scope);
      this.#bind(macro, args, kwargs, inner);
      return this.#captured(() => this.#body(macro.body, inner));
    });
  }

  #bind({ name, parameters, reads }: MacroNode, args: readonly Value[], kwargs: Kwargs, scope: Scope): void {
    const named = new Map(kwargs);
    for (const [i, parameter] of parameters.entries()) {
      const value = i < args.length ? args[i] : named.get(parameter.name);
      if (i >= args.length) named.delete(parameter.name);
      const otherwise = () =>
        parameter.default === undefined
          ? new Undefined(`parameter '${parameter.name}' was not provided`)
          : this.#evaluate(parameter.default, scope);
      scope.set(parameter.name, orElse(value, otherwise));
    }
    if (reads.has('caller') && !parameters.some((parameter) => parameter.name === 'caller')) {
      scope.set(
        'caller',
        orElse(named.get('caller'), () => new Undefined('No caller defined')),
      );
      named.delete('caller');
    }
    if (reads.has('kwargs')) scope.set('kwargs', new Dict(named));
    else if (named.size > 0) {
      throw new TemplateError(`macro '${name}' takes no keyword argument '${[...named.keys()][0]}'`);
    }
    if (reads.has('varargs')) scope.set('varargs', new Tuple(args.slice(parameters.length)));
    else if (args.length > parameters.length) {
      throw new TemplateError(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
    }
  }

  // --- Expressions ------------------------------------------------------------------------------------------------

  /** @param body the text to which a block's filter is applied. */
  #evaluate(expression: Expression, scope: Scope, body?: string): Value {
    this.spend(1);
    switch (expression.kind) {
      case 'constant':
        return expression.value;
      case 'body':
        return body ?? '';
      case 'name':
        return this.#name(expression.name, scope);
      case 'list':
        return expression.items.map((item) => this.#evaluate(item, scope));
      case 'tuple':
        return new Tuple(expression.items.map((item) => this.#evaluate(item, scope)));
      case 'dict':
        return new Dict(
          expression.entries.map(([key, value]) => [this.#evaluate(key, scope), this.#evaluate(value, scope)] as const),
        );
      case 'attribute': {
        const value = this.#evaluate(expression.of, scope);
        // Most methods process the whole text.
        this.#spendOnText(value);
        return value instanceof Markup
          ? attributeOfMarkup(value, expression.name)
          : attributeOf(value, expression.name);
      }
      case 'item':
        return this.#item(this.#evaluate(expression.of, scope), expression.key, scope);
      case 'slice':
        throw new TemplateError('a slice stands where a value was expected');
      case 'call':
        return this.#call(expression, scope, []);
      case 'filter': {
        const value = this.#evaluate(expression.of, scope, body);
        const [args, kwargs] = this.#arguments(expression.args, scope);
        return this.filter(expression.name, value, args, kwargs);
      }
      case 'test': {
        const value = this.#evaluate(expression.of, scope);
        const [args, kwargs] = this.#arguments(expression.args, scope);
        return this.test(expression.name, value, args, kwargs);
      }
      case 'not':
        return !truthy(this.#evaluate(expression.of, scope));
      case 'negative':
        return negated(this.#evaluate(expression.of, scope));
      case 'positive':
        return posited(this.#evaluate(expression.of, scope));
      case 'and': {
        const left = this.#evaluate(expression.left, scope);
        return truthy(left) ? this.#evaluate(expression.right, scope) : left;
      }
      case 'or': {
        const left = this.#evaluate(expression.left, scope);
        return truthy(left) ? left : this.#evaluate(expression.right, scope);
      }
      case 'binary':
        return this.#binary(expression, scope);
      case 'concat':
        return this.#counted(expression.parts.map((part) => this.#text(this.#evaluate(part, scope))).join(''));
      case 'compare':
        return this.#compare(expression, scope);
      case 'conditional':
        return this.#conditional(expression, scope);
    }
  }

  #name(name: string, scope: Scope): Value {
    const found = orElse(scope.get(name), () => GLOBALS.get(name));
    return orElse(found, () => new Undefined(`'${name}' is undefined`));
  }

  #item(value: Value, key: Expression, scope: Scope): Value {
    this.#spendOnText(value);
    if (value instanceof Markup) return markupOf(this.#item(value.text, key, scope));
    if (key.kind !== 'slice') return itemOf(value, plain(this.#evaluate(key, scope)));
    const [start, stop, step] = key.parts.map((part) => (part === undefined ? null : this.#evaluate(part, scope)));
    if (value instanceof Undefined) return value.fail();
    const part = slice(value, start, stop, step);
    if (part !== undefined) return this.#counted(part);
    throw new TemplateError(`'${typeName(value)}' object has no slices`);
  }

  #call(
    { callee, args }: Expression & { kind: 'call' },
    scope: Scope,
    more: readonly (readonly [string, Value])[],
  ): Value {
    const called = this.#evaluate(callee, scope);
    if (called instanceof Undefined) return called.fail();
    if (!(called instanceof Func)) throw new TemplateError(`'${typeName(called)}' object is not callable`);
    const [positional, named] = this.#arguments(args, scope);
    // A macro's body counts its own steps.
    if (!(called instanceof Macro)) for (const arg of positional) this.#weigh(arg);
    return this.#counted(called.call(positional, more.length === 0 ? named : new Map([...named, ...more])));
  }

  #arguments(args: Arguments, scope: Scope): readonly [args: readonly Value[], kwargs: Kwargs] {
    const positional = args.positional.map((arg) => this.#evaluate(arg, scope));
    if (args.named.length === 0 && args.rest === undefined && args.namedRest === undefined) {
      return [positional, NO_KWARGS];
    }
    const named = new Map<string, Value>();
    const add = (name: string, value: Value) => {
      if (named.has(name)) throw new TemplateError(`got multiple values for keyword argument '${name}'`);
      named.set(name, value);
    };
    for (const [name, value] of args.named) add(name, this.#evaluate(value, scope));
    if (args.rest !== undefined) positional.push(...iterate(this.#evaluate(args.rest, scope)));
    if (args.namedRest === undefined) return [positional, named];
    const rest = this.#evaluate(args.namedRest, scope);
    if (!(rest instanceof Dict)) throw new TemplateError(`argument after ** must be a mapping, not ${typeName(rest)}`);
    for (const [name, value] of rest.entries()) {
      if (typeof name !== 'string') throw new TemplateError('keywords must be strings');
      add(name, value);
    }
    return [positional, named];
  }

  #binary({ operator, left, right }: Expression & { kind: 'binary' }, scope: Scope): Value {
    const first = this.#evaluate(left, scope);
    const second = this.#evaluate(right, scope);
    if (first instanceof Markup || second instanceof Markup) {
      this.#weigh(second);
      return this.#counted(markupArithmetic(operator, first, second));
    }
    if (operator === '%' && typeof first === 'string') {
      if (second instanceof Undefined) return second.fail();
      this.#weigh(second);
      return this.#counted(formatPercent(first, second));
    }
    return this.#counted(arithmetic(operator, first, second));
  }

  #compare({ first, rest }: Expression & { kind: 'compare' }, scope: Scope): Value {
    let left = this.#evaluate(first, scope);
    for (const comparison of rest) {
      const right = this.#evaluate(comparison.right, scope);
      this.#weighComparison(left, comparison.operator, right);
      if (!compares(left, comparison.operator, right)) return false;
      left = right;
    }
    return true;
  }

  #conditional({ test, value, otherwise }: Expression & { kind: 'conditional' }, scope: Scope): Value {
    if (truthy(this.#evaluate(test, scope))) return this.#evaluate(value, scope);
    if (otherwise !== undefined) return this.#evaluate(otherwise, scope);
    return new Undefined('the inline if-expression evaluated to false and no else section was defined.');
  }

  /** Counts a new value by its size, and returns it. */
  #counted(value: Value): Value {
    const text = plain(value);
    if (typeof text === 'string') {
      if (text.length > MAX_LENGTH) throw new TemplateError('The template makes a text that is too long.');
      this.#spendOnText(text);
    } else if (isList(value)) this.spend(value.length / ITEMS_PER_STEP);
    return value;
  }

  #spendOnText(value: Value): void {
    const text = plain(value);
    if (typeof text === 'string') this.spend(text.length / CHARACTERS_PER_STEP);
  }

  #text(value: Value): string {
    if (typeof value === 'string') return value;
    this.#weigh(value);
    return str(value);
  }

  /** Counts the work of going through everything inside a value, before it is done. */
  #weigh(value: Value): void {
    if (value !== null && typeof value === 'object') this.spend(countValues(value, this.#stepsLeft));
  }

  #weighComparison(left: Value, operator: Comparison['operator'], right: Value): void {
    const isPlain = left === null || typeof left !== 'object' || left instanceof Undefined;
    if (operator === 'in' || operator === 'not in') {
      if (typeof right === 'string') this.spend(right.length / CHARACTERS_PER_STEP);
      else if (isPlain && isList(right)) this.spend(right.length / ITEMS_PER_STEP);
      else if (!isPlain) this.#weigh(right);
    } else if (!isPlain && right !== null && typeof right === 'object') this.#weigh(left);
  }
}

function compares(left: Value, operator: Comparison['operator'], right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right);
    case '!=':
      return !equals(left, right);
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    default:
      return ordered(left, operator, right);
  }
}
