import { lex, type Token } from './lexer.ts';
import type { Arguments, Comparison, Expression, MacroNode, MacroParameter, Statement, Target } from './nodes.ts';
import { TemplateError } from './values.ts';

/** The statements of a template. @throws TemplateError with the line. */
export function parse(template: string): readonly Statement[] {
  return new Parser(lex(template)).template();
}

const CONSTANTS = new Map<string, null | boolean>([
  ['true', true],
  ['True', true],
  ['false', false],
  ['False', false],
  ['none', null],
  ['None', null],
]);
const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=']);
const MAX_DEPTH = 500;

/** Recursive descent, in the precedence of Jinja's own grammar. */
class Parser {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;
  /** Names that each surrounding macro reads. */
  readonly #reads: Set<string>[] = [];
  #loops = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  template(): readonly Statement[] {
    return this.#statements([]);
  }

  // --- Statements -------------------------------------------------------------------------------------------------

  /** Up to a tag of one of these names, which is next then. None: to the end of the template. */
  #statements(ends: readonly string[]): Statement[] {
    const statements: Statement[] = [];
    for (;;) {
      const { type, value, line } = this.#current;
      if (type === 'end') {
        if (ends.length === 0) return statements;
        this.#fail(`unexpected end of template; expected {% ${ends.join(' %} or {% ')} %}`);
      }
      this.#at++;
      if (type === 'data') statements.push({ kind: 'text', text: value, line });
      else if (type === 'variable begin') {
        statements.push({ kind: 'output', value: this.#tuple(), line });
        this.#expect('variable end');
      } else {
        if (this.#current.type === 'name' && ends.includes(this.#current.value)) return statements;
        statements.push(...this.#statement(ends));
        this.#expect('block end');
      }
    }
  }

  /** The body of a tag whose head has been read, and the name of the tag that ends it. */
  #body(...ends: readonly string[]): readonly [body: Statement[], end: string] {
    this.#skip(':');
    this.#expect('block end');
    if (++this.#depth > MAX_DEPTH) this.#fail('tags are nested too deeply');
    const body = this.#statements(ends);
    this.#depth--;
    return [body, this.#next().value];
  }

  #statement(ends: readonly string[]): Statement[] {
    const { type, value: tag, line } = this.#current;
    if (type !== 'name') this.#fail('tag name expected');
    this.#at++;
    switch (tag) {
      case 'if':
        return [{ line, ...this.#if() }];
      case 'for':
        return [{ line, ...this.#for() }];
      case 'set':
        return [{ line, ...this.#set() }];
      case 'with':
        return [{ line, ...this.#with() }];
      case 'macro':
        return [{ line, kind: 'macro', macro: this.#macro(this.#name(), 'endmacro') }];
      case 'call':
        return [{ line, ...this.#callBlock() }];
      case 'filter': {
        const filter = this.#filters({ kind: 'body' }, true);
        return [{ line, kind: 'filter block', filter, body: this.#body('endfilter')[0] }];
      }
      case 'print':
        return this.#print(line);
      case 'block':
        return [{ line, ...this.#block() }];
      case 'generation':
        return [{ line, kind: 'block', scoped: true, body: this.#body('endgeneration')[0] }];
      case 'break':
      case 'continue':
        if (this.#loops === 0) this.#fail(`{% ${tag} %} stands outside of a loop`);
        return [{ line, kind: tag }];
      default:
        return this.#unknownTag(tag, ends);
    }
  }

  #unknownTag(tag: string, ends: readonly string[]): never {
    const others = ['extends', 'include', 'import', 'from'];
    if (others.includes(tag)) this.#fail(`{% ${tag} %} needs other templates, and there are none`);
    const expected = ends.length === 0 ? '' : `; expected {% ${ends.join(' %} or {% ')} %}`;
    this.#fail(`there is no tag '${tag}'${expected}`);
  }

  #if() {
    const branches: [Expression, Statement[]][] = [];
    let test = this.#tuple(false);
    for (;;) {
      const [body, end] = this.#body('elif', 'else', 'endif');
      branches.push([test, body]);
      if (end === 'endif') return { kind: 'if', branches, otherwise: [] } as const;
      if (end === 'else') return { kind: 'if', branches, otherwise: this.#body('endif')[0] } as const;
      test = this.#tuple(false);
    }
  }

  #for() {
    const target = this.#target(true, false, 'in');
    this.#expectName('in');
    const over = this.#tuple(false, 'recursive');
    const test = this.#skipName('if') ? this.#expression() : undefined;
    const recursive = this.#skipName('recursive');
    this.#loops++;
    const [body, end] = this.#body('endfor', 'else');
    this.#loops--;
    const otherwise = end === 'else' ? this.#body('endfor')[0] : [];
    return { kind: 'for', target, over, test, recursive, body, otherwise } as const;
  }

  #set() {
    const target = this.#target(true, true);
    if (this.#skip('=')) return { kind: 'set', target, value: this.#tuple() } as const;
    const filter = this.#filters({ kind: 'body' });
    return { kind: 'set block', target, filter, body: this.#body('endset')[0] } as const;
  }

  #with() {
    const values: [Target, Expression][] = [];
    while (this.#current.type !== 'block end') {
      if (values.length > 0) this.#expect('operator', ',');
      const target = this.#target(true, false);
      this.#expect('operator', '=');
      values.push([target, this.#expression()]);
    }
    return { kind: 'with', values, body: this.#body('endwith')[0] } as const;
  }

  #callBlock() {
    this.#reads.push(new Set());
    const parameters = this.#is('(') ? this.#parameters() : [];
    const call = this.#expression();
    if (call.kind !== 'call') this.#fail('{% call %} expects a call');
    return { kind: 'call block', call, caller: this.#macroBody('caller', parameters, 'endcall') } as const;
  }

  #macro(name: string, end: string): MacroNode {
    this.#reads.push(new Set());
    return this.#macroBody(name, this.#parameters(), end);
  }

  #macroBody(name: string, parameters: readonly MacroParameter[], end: string): MacroNode {
    const loops = this.#loops;
    this.#loops = 0;
    const [body] = this.#body(end);
    this.#loops = loops;
    const reads = this.#reads.pop() ?? new Set();
    // Names that an inner macro reads are its own.
    return { name, parameters, body, reads };
  }

  #parameters(): MacroParameter[] {
    const parameters: MacroParameter[] = [];
    this.#expect('operator', '(');
    while (!this.#is(')')) {
      if (parameters.length > 0) this.#expect('operator', ',');
      const name = this.#name();
      const value = this.#skip('=') ? this.#expression() : undefined;
      if (value === undefined && parameters.some((parameter) => parameter.default !== undefined)) {
        this.#fail('non-default argument follows default argument');
      }
      parameters.push({ name, default: value });
    }
    this.#expect('operator', ')');
    return parameters;
  }

  #print(line: number): Statement[] {
    const statements: Statement[] = [];
    while (this.#current.type !== 'block end') {
      if (statements.length > 0) this.#expect('operator', ',');
      statements.push({ kind: 'output', value: this.#expression(), line });
    }
    return statements;
  }

  #block() {
    const name = this.#expect('name').value;
    const scoped = this.#skipName('scoped');
    this.#skipName('required');
    const [body] = this.#body('endblock');
    this.#skipName(name);
    return { kind: 'block', scoped, body } as const;
  }

  // --- Targets ----------------------------------------------------------------------------------------------------

  #target(withTuple: boolean, withNamespace: boolean, end?: string): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (isTuple && this.#atTupleEnd(end)) break;
      items.push(this.#singleTarget(withNamespace));
      if (!withTuple || !this.#skip(',')) break;
      isTuple = true;
    }
    return isTuple ? { kind: 'tuple', items } : items[0];
  }

  #singleTarget(withNamespace: boolean): Target {
    if (this.#skip('(')) {
      const target = this.#target(true, withNamespace);
      this.#expect('operator', ')');
      return target;
    }
    const name = this.#name();
    if (withNamespace && this.#skip('.')) return { kind: 'namespace', name, attribute: this.#expect('name').value };
    return { kind: 'name', name };
  }

  /** A name that may be assigned to. */
  #name(): string {
    const { value } = this.#expect('name');
    if (CONSTANTS.has(value)) this.#fail(`can't assign to '${value}'`);
    return value;
  }

  // --- Expressions ------------------------------------------------------------------------------------------------

  /** One expression, or several with commas between them. */
  #tuple(withConditional = true, end?: string, inParentheses = false): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.#atTupleEnd(end)) {
      items.push(this.#expression(withConditional));
      if (!this.#skip(',')) break;
      isTuple = true;
    }
    if (!isTuple && items.length === 1) return items[0];
    if (!isTuple && !inParentheses) this.#fail(`expected an expression, got ${this.#described()}`);
    return { kind: 'tuple', items };
  }

  #atTupleEnd(end: string | undefined): boolean {
    const { type } = this.#current;
    if (type === 'variable end' || type === 'block end' || this.#is(')')) return true;
    return end !== undefined && this.#isName(end);
  }

  #expression(withConditional = true): Expression {
    if (++this.#depth > MAX_DEPTH) this.#fail('the expression is nested too deeply');
    let value = this.#or();
    while (withConditional && this.#skipName('if')) {
      const test = this.#or();
      const otherwise = this.#skipName('else') ? this.#expression() : undefined;
      value = { kind: 'conditional', test, value, otherwise };
    }
    this.#depth--;
    return value;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.#skipName('or')) left = { kind: 'or', left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.#skipName('and')) left = { kind: 'and', left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    let count = 0;
    while (this.#skipName('not')) count++;
    let value = this.#compare();
    for (; count > 0; count--) value = { kind: 'not', of: value };
    return value;
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: Comparison[] = [];
    for (;;) {
      const { type, value } = this.#current;
      if (type === 'operator' && COMPARISONS.has(value)) {
        this.#at++;
        rest.push({ operator: value as Comparison['operator'], right: this.#sum() });
      } else if (this.#skipName('in')) rest.push({ operator: 'in', right: this.#sum() });
      else if (this.#isName('not') && this.#isName('in', 1)) {
        this.#at += 2;
        rest.push({ operator: 'not in', right: this.#sum() });
      } else return rest.length === 0 ? first : { kind: 'compare', first, rest };
    }
  }

  #sum(): Expression {
    let left = this.#concat();
    for (;;) {
      const operator = this.#skip('+') ? '+' : this.#skip('-') ? '-' : undefined;
      if (operator === undefined) return left;
      left = { kind: 'binary', operator, left, right: this.#concat() };
    }
  }

  #concat(): Expression {
    const parts = [this.#product()];
    while (this.#skip('~')) parts.push(this.#product());
    return parts.length === 1 ? parts[0] : { kind: 'concat', parts };
  }

  #product(): Expression {
    let left = this.#power();
    for (;;) {
      const operator = (['*', '/', '//', '%'] as const).find((each) => this.#skip(each));
      if (operator === undefined) return left;
      left = { kind: 'binary', operator, left, right: this.#power() };
    }
  }

  #power(): Expression {
    let left = this.#unary(true);
    while (this.#skip('**')) left = { kind: 'binary', operator: '**', left, right: this.#unary(true) };
    return left;
  }

  #unary(withFilters: boolean): Expression {
    if (++this.#depth > MAX_DEPTH) this.#fail('the expression is nested too deeply');
    let value: Expression;
    if (this.#skip('-')) value = { kind: 'negative', of: this.#unary(false) };
    else if (this.#skip('+')) value = { kind: 'positive', of: this.#unary(false) };
    else value = this.#primary();
    value = this.#postfix(value);
    this.#depth--;
    return withFilters ? this.#filtersAndTests(value) : value;
  }

  #primary(): Expression {
    const { type, value, number } = this.#current;
    if (type === 'name') {
      this.#at++;
      const constant = CONSTANTS.get(value);
      if (constant !== undefined) return { kind: 'constant', value: constant };
      for (const reads of this.#reads) reads.add(value);
      return { kind: 'name', name: value };
    }
    if (type === 'string') {
      let text = '';
      while (this.#current.type === 'string') text += this.#next().value;
      return { kind: 'constant', value: text };
    }
    if (number !== undefined) {
      this.#at++;
      return { kind: 'constant', value: number };
    }
    if (this.#skip('(')) {
      const inside = this.#tuple(true, undefined, true);
      this.#expect('operator', ')');
      return inside;
    }
    if (this.#skip('[')) return { kind: 'list', items: this.#list(']', () => this.#expression()) };
    if (this.#skip('{')) return { kind: 'dict', entries: this.#list('}', () => this.#entry()) };
    this.#fail(`unexpected ${this.#described()}`);
  }

  #entry(): readonly [Expression, Expression] {
    const key = this.#expression();
    this.#expect('operator', ':');
    return [key, this.#expression()];
  }

  /** A list separated by commas, up to a closing bracket, which may follow a comma. */
  #list<T>(end: string, parse: () => T): T[] {
    const items: T[] = [];
    while (!this.#is(end)) {
      if (items.length > 0) this.#expect('operator', ',');
      if (this.#is(end)) break;
      items.push(parse());
    }
    this.#expect('operator', end);
    return items;
  }

  #postfix(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.#skip('.')) value = this.#attribute(value);
      else if (this.#skip('[')) value = { kind: 'item', of: value, key: this.#subscript() };
      else if (this.#is('(')) value = { kind: 'call', callee: value, args: this.#arguments() };
      else return value;
    }
  }

  #attribute(of: Expression): Expression {
    const { type, value, number } = this.#next();
    if (type === 'name') return { kind: 'attribute', of, name: value };
    if (type === 'integer' && number !== undefined)
      return { kind: 'item', of, key: { kind: 'constant', value: number } };
    this.#fail('expected a name or number after the point');
  }

  #subscript(): Expression {
    const items = this.#list(']', () => this.#subscripted());
    if (items.length === 0) this.#fail('expected a key');
    return items.length === 1 ? items[0] : { kind: 'tuple', items };
  }

  #subscripted(): Expression {
    const first = this.#is(':') ? undefined : this.#expression();
    if (!this.#skip(':')) return first ?? this.#fail('expected a key');
    const isEnd = () => this.#is(']') || this.#is(',') || this.#is(':');
    const second = isEnd() ? undefined : this.#expression();
    const third = this.#skip(':') && !isEnd() ? this.#expression() : undefined;
    return { kind: 'slice', parts: [first, second, third] };
  }

  #filtersAndTests(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.#is('|')) value = this.#filters(value);
      else if (this.#skipName('is')) value = this.#test(value);
      else if (this.#is('(')) value = { kind: 'call', callee: value, args: this.#arguments() };
      else return value;
    }
  }

  /** @param isFirst whether the first filter has no `|`. */
  #filters(start: Expression, isFirst = false): Expression {
    let value = start;
    let first = isFirst;
    while (first || this.#skip('|')) {
      first = false;
      const name = this.#dottedName();
      value = { kind: 'filter', of: value, name, args: this.#is('(') ? this.#arguments() : NO_ARGUMENTS };
    }
    return value;
  }

  #test(of: Expression): Expression {
    const negated = this.#skipName('not');
    const name = this.#dottedName();
    const test: Expression = { kind: 'test', of, name, args: this.#testArguments() };
    return negated ? { kind: 'not', of: test } : test;
  }

  #testArguments(): Arguments {
    if (this.#is('(')) return this.#arguments();
    const { type, value } = this.#current;
    const isOperand =
      type === 'name' ? !['else', 'or', 'and'].includes(value) : ['string', 'integer', 'float'].includes(type);
    if (!isOperand && !this.#is('[') && !this.#is('{')) return NO_ARGUMENTS;
    if (this.#isName('is')) this.#fail("tests can't be chained with 'is'");
    return { ...NO_ARGUMENTS, positional: [this.#postfix(this.#primary())] };
  }

  #dottedName(): string {
    let name = this.#expect('name').value;
    while (this.#skip('.')) name += `.${this.#expect('name').value}`;
    return name;
  }

  #arguments(): Arguments {
    this.#expect('operator', '(');
    const positional: Expression[] = [];
    const named: [string, Expression][] = [];
    let rest: Expression | undefined;
    let namedRest: Expression | undefined;
    this.#list(')', () => {
      if (namedRest !== undefined) this.#fail('invalid syntax for function call expression');
      if (this.#skip('**')) namedRest = this.#expression();
      else if (this.#skip('*')) {
        if (rest !== undefined) this.#fail('invalid syntax for function call expression');
        rest = this.#expression();
      } else if (this.#current.type === 'name' && this.#is('=', 1)) {
        const name = this.#next().value;
        this.#at++;
        named.push([name, this.#expression()]);
      } else {
        if (rest !== undefined || named.length > 0) this.#fail('invalid syntax for function call expression');
        positional.push(this.#expression());
      }
    });
    return { positional, named, rest, namedRest };
  }

  // --- Tokens -----------------------------------------------------------------------------------------------------

  get #current(): Token {
    return this.#tokens[this.#at];
  }

  #next(): Token {
    const token = this.#current;
    if (token.type !== 'end') this.#at++;
    return token;
  }

  #is(operator: string, ahead = 0): boolean {
    const token = this.#tokens.at(this.#at + ahead);
    return token?.type === 'operator' && token.value === operator;
  }

  #isName(name: string, ahead = 0): boolean {
    const token = this.#tokens.at(this.#at + ahead);
    return token?.type === 'name' && token.value === name;
  }

  #skip(operator: string): boolean {
    const found = this.#is(operator);
    if (found) this.#at++;
    return found;
  }

  #skipName(name: string): boolean {
    const found = this.#isName(name);
    if (found) this.#at++;
    return found;
  }

  #expect(type: Token['type'], value?: string): Token {
    const token = this.#current;
    if (token.type === type && (value === undefined || token.value === value)) return this.#next();
    this.#fail(`expected ${value === undefined ? type : `'${value}'`}, got ${this.#described()}`);
  }

  #expectName(name: string): void {
    if (!this.#skipName(name)) this.#fail(`expected '${name}', got ${this.#described()}`);
  }

  #described(): string {
    const { type, value } = this.#current;
    if (type === 'end') return 'the end of the template';
    return value === '' || type === 'data' ? type : `'${value}'`;
  }

  #fail(problem: string): never {
    throw new TemplateError(problem, this.#current.line);
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], named: [], rest: undefined, namedRest: undefined };
