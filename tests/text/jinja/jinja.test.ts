import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Template, TemplateError } from '../../../src/text/jinja/template.ts';
import { generatedTemplates } from './fuzz.ts';
import { hasPythonJinja, type PythonResult, renderInPython } from './python.ts';
import { EXPRESSION_TEMPLATES, STATEMENT_TEMPLATES, VARIABLES } from './snippets.ts';

const TEMPLATES = [...new Set([...EXPRESSION_TEMPLATES, ...STATEMENT_TEMPLATES])];
const JSON_VARIABLES = JSON.stringify(VARIABLES);

/** What Python made of the templates: written by tests/text/jinja/write-expected.ts. */
const expected = JSON.parse(readFileSync(new URL('expected.json', import.meta.url), 'utf8')) as Readonly<
  Record<string, PythonResult>
>;

function render(template: string): PythonResult {
  try {
    return { text: new Template(template).render(JSON.parse(JSON_VARIABLES)) };
  } catch (error) {
    if (error instanceof TemplateError) return { error: error.message };
    throw error;
  }
}

/** Whether two texts agree but for what no two processes write alike. */
function agrees(ours: PythonResult, python: PythonResult): boolean {
  // Addresses; and a Markup, which our texts are not.
  if (python.text !== undefined && / at 0x[0-9a-f]+>|Markup\(/.test(python.text)) return true;
  // Jinja folds a constant that has no slices into nothing, where a variable of the same value fails.
  if (ours.error?.includes('has no slices')) return true;
  return python.error === undefined ? ours.text === python.text : ours.error !== undefined;
}

test.each(TEMPLATES)('renders as Python: %j', (template) => {
  const python = expected[template];
  const ours = render(template);
  if (!agrees(ours, python)) expect(ours).toEqual(python);
});

const inPython = hasPythonJinja();
if (!inPython) {
  process.stderr.write(
    'Python has no jinja2, so templates are not compared with it: apt-get install -y python3-jinja2\n',
  );
}

// In CI it must be there.
describe.skipIf(!inPython && !process.env.CI)('beside Python', () => {
  test('what is written down is what Python gives', () => {
    const results = renderInPython(TEMPLATES.map((template) => [template, JSON_VARIABLES] as const));
    const differing = TEMPLATES.filter((template, i) => {
      const [now, then] = [results[i], expected[template]];
      return now.text?.includes(' at 0x') ? !then.text?.includes(' at 0x') : now.text !== then.text;
    });
    expect(differing).toEqual([]);
  });

  test('generated templates give the same', () => {
    const templates = [...new Set(generatedTemplates(1500, 11))];
    const results = renderInPython(templates.map((template) => [template, JSON_VARIABLES] as const));
    const differing = templates.flatMap((template, i) => {
      const ours = render(template);
      return agrees(ours, results[i]) ? [] : [{ template, python: results[i], ours }];
    });
    expect(differing).toEqual([]);
    // Most of what is generated fails in both; what does not has to be many.
    expect(results.filter(({ text }) => text !== undefined).length).toBeGreaterThan(500);
  });
});

describe('a template without an end, or without a bound', () => {
  const CASES: readonly (readonly [template: string, problem: RegExp])[] = [
    ['{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}', /too many steps/],
    ['{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}', /nests too deeply/],
    ['{% set ns = namespace(s="x") %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}', /too long/],
    [
      '{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}',
      /too many steps/,
    ],
    [
      '{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}',
      /too many steps/,
    ],
    [
      '{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l[0] }}',
      /too many steps/,
    ],
    [
      '{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}',
      /too many steps/,
    ],
    ['{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}', /nests too deeply|too many steps/],
    ['{{ "x" * 1000000000 }}', /too long/],
    ['{{ [1] * 1000000000 }}', /too long/],
    ['{{ [range(99999) | list] * 100000 }}', /too many steps/],
    ['{{ 10 ** 1000000000 }}', /too large/],
    ['{% set ns = namespace(n=3) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}', /too large/],
    ['{{ ("1" * 1000000) | int }}{{ undefined.x }}', /undefined/],
    ['{{ ("x" * 1000000) | replace("x", "y" * 1000000) }}', /too long/],
    ['{{ "%1000000000d" % 1 }}', /too long/],
    ['{{ "{:1000000000}".format(1) }}', /too long/],
    ['{{ "x".center(1000000000) }}', /too long/],
    [`{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`, /nested too deeply/],
    ['{% if true %}'.repeat(10_000), /nested too deeply/],
    [`{{ ${'not '.repeat(100_000)}1 }}`, /nests too deeply/],
  ];

  test.each(CASES)('%.60s', (template, problem) => {
    expect(() => new Template(template).render({})).toThrow(TemplateError);
    expect(() => new Template(template).render({})).toThrow(problem);
  });

  test('a long conversation is far from the bound', () => {
    const messages = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: `${i} `.repeat(200),
    }));
    const template = new Template(
      "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + (m.content.split('</think>')[-1] | trim) + '<|im_end|>\\n' }}{%- endfor %}",
    );
    expect(template.render({ messages }, 200_000).length).toBeGreaterThan(1_000_000);
  });
});

describe('values of JavaScript', () => {
  const show = (value: unknown, template = '{{ v }}') => new Template(template).render({ v: value });

  test('are what Python reads from their JSON', () => {
    expect(show([1, 1.5, 1e21, 2 ** 60, -0, true, null, 'a'])).toBe(
      "[1, 1.5, 1e+21, 1152921504606846976, 0, True, None, 'a']",
    );
    expect(show({ a: undefined, b: () => 1, c: [undefined] })).toBe("{'c': [None]}");
    expect(show(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
    expect(show(12345678901234567890n)).toBe('12345678901234567890');
    expect(show([Number.NaN, Number.POSITIVE_INFINITY])).toBe('[nan, inf]');
  });

  test('a Map keeps the order of its keys', () => {
    const map = new Map([
      ['b', 1],
      ['10', 2],
      ['2', 3],
    ]);
    expect(show(map, '{% for k, v in v | items %}{{ k }}={{ v }};{% endfor %}')).toBe('b=1;10=2;2=3;');
  });

  test('inherited names are no attributes', () => {
    expect(show({}, '{{ v.constructor is defined }}{{ v.__proto__ is defined }}{{ v.toString is defined }}')).toBe(
      'FalseFalseFalse',
    );
    expect(show(JSON.parse('{"__proto__": 1}'), '{{ v.__proto__ }}')).toBe('1');
  });

  test('what contains itself is refused', () => {
    const loop: unknown[] = [];
    loop.push(loop);
    expect(() => show(loop)).toThrow(/nested deeper/);
  });
});

test('errors name the line', () => {
  for (const template of [
    '\n\n{{ 1 + "a" }}',
    '\n{% if 1 %}\n{{ x.y }}{% endif %}',
    'a\n\n{% nope %}',
    '{#\n\n#}{{ 1 + }}',
  ]) {
    expect(() => new Template(template).render({})).toThrow(expect.objectContaining({ line: 3 }));
  }
});

test('strftime_now is the local time', () => {
  const before = new Date();
  const text = new Template("{{ strftime_now('%Y|%-d|%B|%%|%Q') }}").render({});
  const days = [before, new Date()].map(
    (date) => `${date.getFullYear()}|${date.getDate()}|${date.toLocaleString('en', { month: 'long' })}|%|%Q`,
  );
  expect(days).toContain(text);
});

test('texts in expressions are its constants, but for those that name fields', () => {
  const { constants } = new Template(
    "{% if m['role'] == 'ipython' or m.role in ['a', 'b'] %}raw {{ x['y'] ~ 'z' }}{% endif %}",
  );
  expect([...constants].sort()).toEqual(['a', 'b', 'ipython', 'z']);
});
