import fc from 'fast-check';

const NAMES = [
  'i',
  'x',
  's',
  't',
  'none',
  'list',
  'words',
  'd',
  'mixed',
  'empty',
  'missing',
  'code',
  'emoji',
  'tiny',
  'd.a',
  'd.c',
  'd.nested.k',
  'messages[1]',
  'messages',
];
const CONSTANTS = [
  "'a b,c'",
  "'\\n x\\n'",
  "''",
  '0',
  '1',
  '-3',
  '2.5',
  '1.0',
  'true',
  'false',
  'none',
  '[]',
  '[1, 2.0]',
  '{}',
  "{'k': 1, '2': none}",
  "('a',)",
  "'Straße'",
];
const FILTERS = [
  'string',
  'length',
  'trim',
  'upper',
  'lower',
  'title',
  'capitalize',
  'tojson',
  'list',
  'first',
  'last',
  'join',
  "join('-')",
  'sort',
  'int',
  'float',
  'round',
  'abs',
  'reverse | list',
  "default('z')",
  "default('z', true)",
  'items | list',
  'dictsort',
  'sum',
  'min',
  'max',
  'unique | list',
  "replace('a', 'b')",
  'count',
  "trim('\\n')",
  'escape',
  'safe',
  'tojson(indent=2)',
  "map('string') | list",
  "select('string') | list",
  'batch(2) | list',
  'wordcount',
  'indent(2)',
  'truncate(6)',
  "map('length') | list",
  "selectattr('role') | list",
  'slice(2) | list',
  'urlencode',
];
const TESTS = [
  'defined',
  'none',
  'string',
  'number',
  'mapping',
  'sequence',
  'iterable',
  'boolean',
  'integer',
  'float',
  'true',
  'odd',
  'lower',
  'upper',
  'callable',
  "eq('a')",
  'in [1, "a"]',
  'divisibleby 2',
];
const METHODS = [
  '.strip()',
  ".lstrip('\\n ')",
  ".split(' ')",
  '.split()',
  ".split('a', 1)",
  '.upper()',
  ".startswith('a')",
  ".replace('a', 'b', 1)",
  '.items() | list',
  ".get('a')",
  '.keys() | list',
  '[0]',
  '[-1]',
  '[1:]',
  '[::-1]',
  '[:2]',
  "['a']",
  '.a',
  ".find('a')",
  '.title()',
  '.splitlines()',
  ".count('a')",
  ".rstrip('c')",
  '.values() | list',
  ".partition(' ')",
  ".rsplit('a', 1)",
  '.zfill(6)',
  '.format(1, a=2)',
];
const OPERATORS = [
  '+',
  '-',
  '*',
  '/',
  '//',
  '%',
  '**',
  '~',
  '==',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  'in',
  'not in',
  'and',
  'or',
];

/** Expressions of all kinds. */
const expression: fc.Arbitrary<string> = fc.letrec<{ any: string; leaf: string }>((tie) => ({
  leaf: fc.constantFrom(...NAMES, ...CONSTANTS),
  any: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    tie('leaf'),
    fc.tuple(tie('any'), fc.constantFrom(...FILTERS)).map(([value, filter]) => `(${value}) | ${filter}`),
    fc.tuple(tie('any'), fc.constantFrom(...METHODS)).map(([value, method]) => `(${value})${method}`),
    fc
      .tuple(tie('any'), fc.constantFrom('is', 'is not'), fc.constantFrom(...TESTS))
      .map(([value, is, test]) => `((${value}) ${is} ${test})`),
    fc
      .tuple(tie('any'), fc.constantFrom(...OPERATORS), tie('any'))
      .map(([a, operator, b]) => `(${a}) ${operator} (${b})`),
    fc.tuple(tie('any'), tie('any'), tie('any')).map(([a, b, c]) => `(${a} if ${b} else ${c})`),
    tie('any').map((value) => `not (${value})`),
    tie('any').map((value) => `-(${value})`),
  ),
})).any;

const space = fc.constantFrom('', ' ', '\n', '\n  ', '  \n', 'text', ' a\n');
const sign = fc.constantFrom('', '', '', '-', '+');

function tag(code: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(sign, code, sign).map(([open, inside, close]) => `{%${open} ${inside} ${close}%}`);
}

/** Whole templates: statements with white space around them. */
const template: fc.Arbitrary<string> = fc.letrec<{ body: string; part: string }>((tie) => ({
  body: fc.array(tie('part'), { maxLength: 4 }).map((parts) => parts.join('')),
  part: fc.oneof(
    { maxDepth: 3 },
    space,
    fc
      .tuple(fc.constantFrom('', '-'), expression, fc.constantFrom('', '-'))
      .map(([a, value, b]) => `{{${a} ${value} ${b}}}`),
    fc
      .tuple(
        tag(expression.map((value) => `if ${value}`)),
        tie('body'),
        tag(fc.constant('else')),
        tie('body'),
        tag(fc.constant('endif')),
      )
      .map((parts) => parts.join('')),
    fc
      .tuple(
        tag(expression.map((value) => `for q in ${value}`)),
        tie('body'),
        space,
        fc.constant('{{ loop.index }}{{ q }}{{ loop.last }}'),
        tag(fc.constant('endfor')),
      )
      .map((parts) => parts.join('')),
    tag(fc.tuple(fc.constantFrom('i', 's', 'v'), expression).map(([name, value]) => `set ${name} = ${value}`)),
    fc
      .tuple(tag(fc.constantFrom('set v', 'set s | trim', 'filter upper', 'with', 'raw')), tie('body'))
      .map(([open, inside]) => {
        const [, name] = /(\w+)/.exec(open) ?? ['', ''];
        return `${open}${inside}{% end${name} %}`;
      }),
    fc.tuple(sign, space, sign).map(([a, text, b]) => `{#${a}${text}${b}#}`),
  ),
})).body;

/** Templates, the same for the same seed. */
export function generatedTemplates(count: number, seed: number): string[] {
  const expressions = fc.sample(expression, { numRuns: count, seed }).map((each) => `{{ ${each} }}`);
  return [...expressions, ...fc.sample(template, { numRuns: count, seed })];
}
