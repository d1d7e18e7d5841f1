/** Variables that all snippets have. */
export const VARIABLES = {
  none: null,
  t: true,
  f: false,
  i: 7,
  big: 9007199254740991,
  x: 2.5,
  tiny: 1e-7,
  s: 'Hello wörld, it\'s "me"',
  spaced: '\n  two words \n',
  code: '\n    return 1 \n',
  lines: 'a\nb\r\n\nc',
  emoji: 'a😀b',
  empty: '',
  list: [3, 1, 2],
  words: ['b', 'A', 'c', 'a'],
  mixed: [1, 'x', null, true, 2.5, [1], { a: 1 }],
  d: { b: 1, a: 'two', c: null, nested: { k: [1, 2] } },
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi', name: 'Ann' },
    { role: 'assistant', content: '<think>\nhm\n</think>\n\n    code', n: 1 },
    { role: 'user', content: 'And?', n: 2 },
  ],
  tree: [
    {
      n: 'a',
      kids: [
        { n: 'b', kids: [] },
        { n: 'c', kids: [{ n: 'd', kids: [] }] },
      ],
    },
    { n: 'e', kids: [] },
  ],
};

/** Each is printed. */
const EXPRESSIONS = `
none|t|f|i|x|tiny|s|list|mixed|d|missing|big|emoji|words
none | string;; t | string;; 1.0 | string;; tiny | string;; 1e16;; 1e15;; 123456789012345680.0;; 0.1 + 0.2;; 1e300 * 1e300;; -0.0;; 5e-324;; 1.5e-5;; 0.0001
d | string;; mixed | string;; list | string;; [none, true, 1.0, 'a\\'b', "q\\"", 'both\\'"'] ;; ('a',);; ();; (1, 2);; {'a': none, 1: 2.0}
"tab\\t nl\\n back\\\\ bell\\x07 é ü \\u200b" | list;; ["\\t\\n\\r\\\\", "\\x00", "\\x7f", "\\xa0", "\\u200b", "é", "😀"]
missing | trim;; missing | length;; missing | upper;; missing | string;; missing | list;; missing | join(',');; missing | default('d');; none | default('d');; none | default('d', true);; '' | default('d', true);; missing | first;; missing | last;; missing | items | list;; missing | int;; missing | tojson;; missing | replace('a', 'b');; missing | capitalize;; missing | title
missing.a;; missing['a'];; missing();; missing + 1;; 1 + missing;; missing ~ 'x';; missing == missing;; missing == none;; missing in [1];; 1 in missing;; not missing;; missing is defined;; missing is none;; none is none;; missing < 1;; missing[1:];; -missing
d.missing;; d.missing.more;; d['missing'];; d.nested.k[1];; d.nested['k'][-1];; d.nested.k[5];; d.b;; d['b'];; none.x;; i.x;; s.x;; list.x;; list[10];; list[-1];; list[0];; list['a'];; s[0];; s[-1];; s[100];; s[1:3];; s[::-1];; emoji[1];; emoji | length;; emoji[::-1];; emoji[1:2]
code.lstrip('\\n');; code.rstrip('\\n');; code.strip('\\n');; code.strip();; code | trim;; code | trim('\\n');; spaced.strip('\\n ');; 'xxabcxx'.strip('x');; 'abc'.strip('');; 'abcba'.strip('ab');; 'abc'.lstrip('cba');; '\\ufeffa'.strip();; '\\x1fa\\x85'.strip()
'hELLO wORLD' | capitalize;; 'hELLO wORLD' | title;; 'hELLO wORLD'.title();; "they're bill's".title();; "they're bill's" | title;; 'ß'.upper();; 'ß' | capitalize;; 'aB'.swapcase();; 'İ'.lower();; 'ΑΣ'.lower();; 'foo-bar (baz' | title
-7 % 3;; 7 % -3;; -7 // 3;; 7 // -3;; -7 / 2;; 7 / 7;; 7 // 2;; -7.5 % 2;; 7.5 // 2;; -7.5 // 2;; 2 ** 10;; 2 ** -1;; 2 ** 0.5;; 10 ** 20;; 9007199254740993 + 2;; 2 ** 64 % 1000;; -(2 ** 64) // 3;; 1 / 0;; 1 // 0;; 1 % 0;; 1.0 / 0;; 0.0 % 0;; true + true;; true * 3;; big + 1;; big * big;; 1 - 1.0;; -3;; +3;; - -3;; -t;; 7 % 2.5;; -i ** 2
'a' * 3;; 3 * 'ab';; [1] * 2;; [1] + [2];; (1,) + (2,);; 'a' + 'b';; 'a' + 1;; 1 + 'a';; [1] + 'a';; 'a' * -1;; 'a' - 'b';; none + 1;; 'a' * 1.0;; {} + {}
1 ~ 2;; 1.0 ~ none ~ true;; [1] ~ 'a';; 1 ~ 2 + 3;; 'a' ~ 'b' * 2;; 1 + 2 ~ 3
1 < 2 < 3;; 1 < 3 < 2;; 1 == 1.0;; 1 == true;; 'a' < 'b';; 'a' < 1;; [1, 2] < [1, 3];; (1, 2) < (1, 2, 3);; none < 1;; none == none;; 'a' == 'a';; [1] == [1];; (1,) == [1];; {'a': 1} == {'a': 1.0};; 1 != 2;; 'Z' < 'a';; '😀' < '\\uffff';; 1 <= 1 >= 1;; not 1 == 2;; 1 in [1] == true;; [1, 'a'] < [1, 2]
'a' in 'abc';; 'b' not in 'abc';; 1 in [1, 2];; 'a' in d;; 'b' in d;; 1 in 'a';; none in [none];; 'x' in mixed;; 1.0 in [1];; 'a' in none;; 'a' in 5;; '' in 'a';; [1] in [[1]];; [1] in d
1 and 0;; '' or 'x';; none or missing;; missing and 1;; 0 or '' or none;; not '';; not 0.0;; not [];; not {};; not none;; 1 if t else 2;; 1 if f else 2;; 1 if f;; (1 if f) is defined;; 'a' if t else 'b' if f else 'c';; [] or {} or ();; 'a' and 'b' or 'c'
list is sequence;; 'a' is sequence;; d is sequence;; d is mapping;; d.items() is sequence;; 1 is sequence;; missing is sequence;; list is iterable;; 1 is iterable;; 'a' is iterable;; (1,) is sequence;; range(3) is sequence;; none is sequence;; 'a' is string;; 1 is string;; 1 is number;; true is number;; 1.0 is number;; 1.0 is float;; 1 is float;; 1 is integer;; true is integer;; true is boolean;; 1 is boolean;; true is true;; 1 is true;; false is false;; none is none;; 3 is odd;; 4 is even;; 9 is divisibleby 3;; 9 is divisibleby(3);; 'a' is sameas 'a';; none is sameas(none);; 1 is eq 1;; 1 is lt(2);; 3 is in [1, 3];; 'ab' is lower;; 'AB' is upper;; 'a1' is lower;; '1' is lower;; range is callable;; 1 is callable;; 1 is not defined;; 'upper' is filter;; 'odd' is test;; 'nope' is filter;; 2 is not odd;; x is nothing;; 1 is divisibleby;; 'x' is ne 'y';; -1 is odd;; 1 is ge 1
list | sort;; list | sort(reverse=true);; words | sort;; words | sort(case_sensitive=true);; mixed | sort;; messages | sort(attribute='role') | map(attribute='role') | list;; messages | map(attribute='n') | list;; messages | map(attribute='n', default=0) | sum;; messages | selectattr('n') | list | length;; messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|');; messages | rejectattr('role', 'in', ['user', 'system']) | list | length;; messages | selectattr('name', 'defined') | list | length;; list | select('odd') | list;; list | reject('gt', 1) | list;; words | map('upper') | list;; words | map('replace', 'a', 'z') | join;; words | unique | list;; words | min;; words | max;; list | min;; list | max;; [] | max;; list | sum;; list | first;; list | last;; [] | first;; 'abc' | last;; list | reverse | list;; 'abc' | reverse;; list | reverse;; list | length;; d | length;; 'ab' | count;; 5 | length;; none | length;; list | join;; list | join(', ');; messages | join('|', attribute='role');; [none, true, 1.0] | join(',');; words | groupby('0') | list;; messages | groupby('role');; (messages | groupby('role'))[0].grouper;; (messages | groupby('role'))[0].list | length;; list | batch(2) | list;; list | batch(2, 'x') | list;; range(7) | slice(3) | list;; range(7) | slice(3, 'x') | list;; d | dictsort;; d | items | list;; d.items() | list;; d | list;; list | list;; 'abc' | list;; messages | map('attr', 'role') | list;; words | map('nofilter') | list;; messages | selectattr('role', 'noop') | list;; (messages | selectattr('x')) is defined;; (messages | selectattr('x')) | length;; 'yes' if messages | selectattr('x') else 'no';; messages | selectattr | list
d.items();; d.keys();; d.values();; d.get('a');; d.get('zz');; d.get('zz', 'dflt');; d.get('c', 1);; d.keys() | list;; d.copy();; d.pop('a');; d.update({'z': 1});; d.setdefault('q', 1);; d.clear;; d.keys() | length;; d.items() | first;; d.popitem();; list.append(4);; list.pop();; list.index(1);; list.count(1);; list.index(99);; list.copy();; (1, 2, 1).count(1);; (1, 2).index(2);; list.insert;; d.items;; d['items'];; {'items': 5}.items;; {'items': 5}['items'];; {'keys': 1}.keys
'a,b,,c'.split(',');; ' a  b '.split();; 'a b c'.split(' ', 1);; 'a b c'.split(maxsplit=1);; 'a b c'.rsplit(' ', 1);; ' a b  c '.rsplit(maxsplit=1);; ' a b  c '.split(none, 1);; 'abc'.split('');; 'a\\nb\\n'.splitlines();; lines.splitlines();; lines.splitlines(true);; 'abc'.split('b');; ''.split();; ''.split(',');; 'aXbXc'.rsplit('X');; 'a.b.c'.partition('.');; 'a.b.c'.rpartition('.');; 'abc'.partition('x');; 'abc'.rpartition('x')
'aaa'.replace('a', 'b', 2);; 'aaa' | replace('a', 'b', 2);; 'abc'.replace('', '-');; 'abc'.replace('', '-', 2);; 'abc' | replace('b', none);; 5 | replace('5', 6);; 'abc'.replace('c', 1);; 'aaa'.replace('aa', 'b');; 'abc'.startswith('a');; 'abc'.startswith(('x', 'a'));; 'abc'.endswith('c');; 'abc'.endswith(('x', 'b'));; 'abc'.startswith('b', 1);; 'abc'.startswith(['a']);; 'abc'.find('c');; 'abc'.find('z');; 'abcabc'.rfind('b');; 'abc'.index('z');; 'abcabc'.count('b');; 'aaa'.count('');; emoji.find('b');; 'abc'.find('b', 2);; 'abc'.removeprefix('a');; 'abc'.removesuffix('bc');; 'abc'.removesuffix('');; ','.join(['a', 'b']);; ','.join([1]);; ','.join('abc');; 'a'.zfill(3);; '-5'.zfill(4);; 'a'.center(4, '*');; 'ab'.center(5, '*');; 'a'.ljust(3) ~ '|';; 'a'.rjust(3);; 'a\\tb'.expandtabs(4);; 'abc'.isalpha();; 'ab1'.isalnum();; '12'.isdigit();; '1.5'.isdigit();; ' '.isspace();; 'Ab'.istitle();; 'ab'.islower();; 'AB'.isupper();; ''.isupper();; '²'.isdigit();; '½'.isnumeric();; 'a b'.isidentifier();; 'é'.isascii();; 'a'.nomethod();; 'STRASSE'.casefold()
'%s and %s' % ('a', 1);; '%d' % 3.7;; '%05d|%-5d|%+d' % (3, 4, 5);; '%.2f' % 2.345;; '%5.1f|' % 2.25;; '%x %X %o' % (255, 255, 8);; '%%' % ();; '%s' % none;; '%r' % 'a';; '%s' % [1, 2];; '%(a)s' % {'a': 1};; '%s %s' % 'a';; '%s' % ('a', 'b');; '%d' % 'a';; '%e' % 12345.678;; '%g' % 0.00001234;; '%g' % 123456789;; '%.3s|' % 'abcdef';; '%c' % 65;; '%5s|%-5s|' % ('a', 'b');; 'x' % 1;; '%s' | format('a');; '%s %s' | format('a', 'b');; '%(n)s' | format(n=1);; '%i%%' % 5;; '% d' % 5;; '%#x' % 255;; '%z' % 1;; '%.0f %.0f %.0f' % (0.5, 1.5, 2.5);; '%.1f' % 0.25;; '%.1f' % 0.35
'{} {}'.format(1, 'a');; '{0}{1}{0}'.format('a', 'b');; '{a}'.format(a=1);; '{:>5}|{:<5}|{:^5}|'.format(1, 'a', 'b');; '{:05.1f}'.format(3.14159);; '{:,}'.format(1234567);; '{:.2%}'.format(0.256);; '{:x}'.format(255);; '{:#b}'.format(5);; '{!r}'.format('a');; '{{}}'.format();; '{'.format();; '{}'.format();; '{0.nested}'.format(d);; '{0[a]}'.format(d);; '{:+d}'.format(5);; '{:e}'.format(12345.678);; '{:g}'.format(1e10);; '{:*^9}'.format('ab');; '{:{}}'.format('a', 4) ~ '|';; '{:d}'.format('a');; '{:s}'.format(1);; '{:.3}'.format('abcdef');; '{:.3}'.format(3.14159);; '{}'.format(none);; '{:_}'.format(1234567);; '{:08.3f}'.format(-3.14159);; '{}'.format(1.0);; '{:.0f}'.format(2.5);; '{:n}'.format(5);; '{:c}'.format(65);; '{:5}|'.format(true);; '{a[b]}'.format(a={'b': 1});; '{:>{w}}'.format('a', w=3);; '{:.1f}'.format(1);; '{:,.2f}'.format(1234567.891)
42.55 | round;; 42.55 | round(1, 'floor');; 42 | round;; 42.5 | round;; 43.5 | round;; 42.4 | round(method='ceil');; 2.675 | round(2);; 0.125 | round(2);; 1234 | round(-2);; '5' | round;; 1.5 | round | int;; -2.5 | round;; 1e20 | round;; 1250 | round(-2);; 1350 | round(-2);; 0.5 | round;; 1.005 | round(2);; '42' | int;; '42.7' | int;; 'x' | int;; 'x' | int(5);; '0x1f' | int(0, 16);; '0x1f' | int(base=16);; '11' | int(0, 2);; 3.9 | int;; -3.9 | int;; none | int;; [] | int;; ' 5 ' | int;; '1_000' | int;; true | int;; '1e3' | int;; 'inf' | int;; '3.5' | float;; 'x' | float;; 'x' | float(1.5);; 5 | float;; '1e3' | float;; none | float;; 'nan' | float;; 'inf' | float;; -5 | abs;; 5.5 | abs;; -5.5 | abs;; 'a' | abs;; true | abs;; '-0' | float;; '1_0.5' | float;; '.5' | float;; '5.' | float
d | tojson;; mixed | tojson;; mixed | tojson(indent=2);; d | tojson(indent=4);; 'é\\n"<>&\\'😀' | tojson;; 'é😀' | tojson(ensure_ascii=true);; 1.0 | tojson;; 1e-7 | tojson;; tiny | tojson;; none | tojson;; [] | tojson(indent=2);; {} | tojson(indent=2);; [[]] | tojson(indent=2);; (1, 2) | tojson;; {1: 2, none: 3, true: 4, 1.5: 5} | tojson;; d | tojson(sort_keys=true);; d | tojson(separators=(',', ':'));; range(3) | tojson;; {(1, 2): 3} | tojson;; '\\x7f\\u2028' | tojson;; big | tojson;; mixed | tojson(indent=0);; mixed | tojson(indent='\\t');; namespace() | tojson;; d.items() | tojson;; list | map('string') | tojson;; 'a\\\\ud800b' | tojson;; d | tojson(indent=2, separators=(',', ': '))
'a b c d e f' | truncate(5);; 'abcdefghij' | truncate(5);; 'abcdefghijklm' | truncate(5);; 'abcdefghijklm nop' | truncate(8, true);; 'abcdefghijklm nop' | truncate(9, false, '!', 0);; 'a\\nb\\n\\nc' | indent;; 'a\\nb' | indent(2, true);; 'a\\n\\nb' | indent(2, blank=true);; 'a\\nb' | indent('> ');; '' | indent;; 'a\\n' | indent;; 'a' | center(5);; 'a b-c' | wordcount;; '<a href="x">&\\'' | escape;; '<b>' | e;; '<b>' | safe;; none | e;; 'a b/c?d=é' | urlencode;; {'a b': 'c&d'} | urlencode;; 5 | upper;; none | upper;; 5 | string;; 'abc' | attr('upper');; d | attr('a');; d | attr('items')
range(3);; range(1, 10, 3);; range(3) | list;; range(3, 0, -1) | list;; range(0);; range(200000);; range(1.5);; range();; range(5)[1];; range(5)[-1];; range(5)[1:3];; range(5) | length;; 3 in range(5);; dict(a=1);; dict({'a': 1}, b=2);; dict([('a', 1)]);; namespace(a=1);; namespace(a=1).a;; namespace().b;; namespace({'a': 2}).a;; cycler('a', 'b').next();; range;; range(10)[::2] | list;; range(5)[::-1] | list
[1, 2, 3][1:];; [1, 2, 3][:-1];; [1, 2, 3][::2];; [1, 2, 3][::-1];; [1, 2, 3][-2:];; [1, 2, 3][5:];; [1, 2, 3][-10:2];; (1, 2, 3)[1:];; 'abc'[1:];; 'abc'[:-1];; 'abc'[::-1];; 'abcdef'[4:1:-1];; d[1:];; [1, 2][::0];; list[none:2];; list['a':];; [1,2,3][true];; list.0;; list.1
"a" "b";; 'a\\x41\\u00e9\\101\\n\\q' ;; "\\U0001F600";; 1_000;; 0x1F;; 0b101;; 0o17;; 1e3;; 1.5e-3;; 007;; .5;; 5.;; 0_0
loop;; varargs;; true;; True;; none;; None;; false;; False;; not true;; (1);; ((1, 2),);; [1, 2,];; {'a': 1,};; {};; {1: 'a', '1': 'b'}[1];; {1: 'a', 1.0: 'b', true: 'c'};; {'b': 1, '10': 2, '2': 3};; [[1, [2, (3,)]], {'a': {'b': none}}]
raise_exception('my words');; raise_exception();; range(2)(1);; 'a'();; none();; d();; list(1);; dict(1);; 1 | nofilter;; 1 is notest;; 1 | upper(2);; 1 | default(1, 2, 3);; 'a'.upper(1);; 'a' | trim(1);; 'a' | join(1, 2, 3);; ([1, 2] | map) | list;; s.format_map({'a': 1});; '{a}'.format_map({'a': 1});; 'a' is divisibleby(2);; 1 is odd(2);; [1, 2] | sum(start=10);; [[1], [2]] | sum(start=[]);; ['a'] | sum;; messages | sum(attribute='n');; messages | map(attribute='role', nope=1) | list
'<a>' | safe + '<b>';; '<a>' + '<b>' | safe;; ('<' | e) + '<' ~ '<' | e;; '<' | e | e;; '<' | e | forceescape;; 'a' | safe + 1;; 1 + 'a' | safe;; 'a' | safe + missing;; missing | e;; ('<' | safe) * 2 + '<';; 2 * ('<' | safe) + '>';; '<%s>%d%%' | safe % ('<', 5);; '%s|%s' | safe % (['<'], none);; '<{}>' | safe | format;; ('<{}{a}>' | safe).format('<', a='&');; '<%s>' | safe | format('<');; ('<' | safe).join(['&', '<' | safe]);; ['<' | safe, '&'] | join('"');; ('<a>' | safe).upper() + '<';; ('<a>' | safe | upper) + '<';; ('<a>' | safe | trim) + '<';; ('<a>' | safe | replace('a', '&')) + '<';; ('<a>' | safe).replace('a', '&') + '<';; ('<,<' | safe).split(',')[0] + '<';; ('<a' | safe)[0] + '<';; ('<a' | safe)[:1] + '<';; ('<a' | safe | first) + '<';; '<' | safe == '<';; '<' | safe in '<a';; 'a' in ('<a' | safe);; {'<': 1}['<' | safe];; {'<' | safe: 1}['<'];; ('<' | safe) is string;; ('<' | safe) is escaped;; '<' is escaped;; ('<' | safe) is sequence;; '<é' | safe | length;; '<' | safe | tojson;; {'a': '<' | safe} | tojson;; ['b' | safe, 'a'] | sort | join;; 'b' | safe < 'c';; '' | safe or 'x';; ('<' | safe) ~ '<';; '<' | safe | list;; ('a' | safe).startswith('a');; ('<' | safe | string) + '<';; ('<' | safe | default('x')) + '<';; '5' | safe | int;; ('<a b>' | safe).partition(' ')[0] + '<';; none | safe;; 1.0 | safe + '<';; [1] | safe + '<';; ('<' | safe).find('<');; ' a ' | safe | trim | length;; ('ab' | safe | reverse) + '<';; dict(a='<' | safe).a + '<';; 'x' | default('<' | safe) + '<';; ['<', '>'] | map('e') | join;; (['<'] | map('safe') | first) + '<'
1 if;; {{;; 1 +;; [1;; (1;; 'a;; 1 2;; a b;; @;; 1 is;; 1 | ;; a.;; a[];; ,;; {1};; {1:};; f(a=1, 2);; f(*a, *b);; f(**a, b=1);; 1 is odd is even;; a..b;; not;; 1 not 2;; in;; a = 1;; 1;;2
`;

export const EXPRESSION_TEMPLATES: readonly string[] = EXPRESSIONS.trim()
  .split('\n')
  .flatMap((line) => (line.includes(';;') ? line.split(';;') : line.split('|')))
  .map((expression) => `{{ ${expression.trim()} }}`);

/** Statements, and white space around them. */
export const STATEMENT_TEMPLATES: readonly string[] = [
  '{% with who = "you" %}{{ who }}{% endwith %}{{ who }}',
  '{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}',
  '{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% set a = 2 %}{{ a }}{% endwith %}{{ a }}',
  '{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}',
  '{% raw %}{{ x }} {% if %} {# c #}{% endraw %}',
  'a {%- raw -%}  {{ x }}  {%- endraw -%}  b',
  '  {% raw %}\n  {{ x }}\n  {% endraw %}\nb',
  '{% for n in tree recursive %}{{ n.n }}({{ loop(n.kids) }}){{ loop.depth }}{{ loop.depth0 }}{% endfor %}',
  '{% for n in tree %}{{ loop(n.kids) }}{% endfor %}',
  '{% for m in messages if m.role == "user" %}{{ loop.index }}/{{ loop.length }}:{{ m.content }};{% else %}none{% endfor %}',
  '{% for m in [] %}x{% else %}none{% endfor %}',
  '{% for m in missing %}x{% else %}none{% endfor %}',
  '{% for m in none %}x{% endfor %}',
  '{% for m in 5 %}x{% endfor %}',
  '{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}',
  '{% for k in d %}{{ k }};{% endfor %}',
  '{% for k, v in d | items %}{{ k }}={{ v | string }};{% endfor %}',
  '{% for k, v in d | dictsort %}{{ k }}{% endfor %}',
  '{% for a, b in [1] %}{% endfor %}',
  '{% for a, b in ["xy", [1, 2]] %}{{ a }}{{ b }}{% endfor %}',
  '{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}',
  '{% for a, b in [[1, 2, 3]] %}{% endfor %}',
  '{% for c in emoji %}[{{ c }}]{% endfor %}',
  '{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle("a", "b") }}{{ loop.changed(x) }};{% endfor %}',
  '{% for x in list %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.nope is defined }};{% endfor %}',
  '{% for x in list | select("odd") %}{{ loop.revindex }}{{ loop.last }}{{ loop.length }};{% endfor %}',
  '{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}',
  '{% for x in list %}{{ loop }}{% endfor %}',
  '{% for x in list %}{% for y in list %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}',
  '{% for x in range(5) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}',
  '{% for x in [1] %}{% break %}{% else %}e{% endfor %}',
  '{% break %}',
  '{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}',
  '{% for i in [1, 2] %}{{ y }}{% set y = i %}{% endfor %}{{ y }}',
  '{% set ns = namespace(n=0) %}{% for i in list %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns }}',
  '{% set d.x = 1 %}',
  '{% set nope.x = 1 %}',
  '{% if false %}{% set z = 1 %}{% endif %}{{ z }}|{% if true %}{% set z = 2 %}{% endif %}{{ z }}',
  '{% set a, b = 1, 2 %}{{ a }}{{ b }}',
  '{% set a = 1, 2 %}{{ a }}',
  '{% set (a, b) = [3, 4] %}{{ a }}{{ b }}',
  '{% set a %}x{{ 1 }}y{% endset %}[{{ a }}]',
  '{% set a | upper | replace("X", "z") %}x{{ 1 }}y{% endset %}[{{ a }}]',
  '{% filter upper %}a{{ "b" }}{% endfilter %}',
  '{% filter replace("a", "b") | upper %}aca{% endfilter %}',
  '{% filter trim %}  {% set q = 1 %}{{ q }}  {% endfilter %}{{ q }}',
  '{% macro m(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 3) }}|{{ m(b=5, a=4) }}|{{ m() }}',
  '{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}',
  '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}',
  '{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}',
  '{% macro m(a) %}{{ caller(a) }}{% endmacro %}{% call(x) m(1) %}[{{ x }}]{% endcall %}',
  '{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}c{% endcall %}{{ m() }}',
  '{% macro m() %}x{% endmacro %}{% call m() %}c{% endcall %}',
  '{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}',
  '{% macro m() %}{{ g }}{% endmacro %}{% set g = 1 %}{{ m() }}',
  '{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}',
  '{% macro m() %}  a  {% endmacro %}[{{ m() | trim }}]{{ m }}{{ m.name }}',
  '{{ [1, 2] | map("string") }}'.replace('{{', '{% set q = ').replace('}}', '%}{{ q is string }}'),
  '{% if list %}a{% elif t %}b{% else %}c{% endif %}{% if not list %}a{% elif f %}b{% else %}c{% endif %}',
  '{% if 1, 2 %}a{% endif %}',
  '{% generation %}{{ s }}{% set in = 1 %}{% endgeneration %}'.replace('{% set in = 1 %}', ''),
  '{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q }}',
  '{% print 1, 2 %}',
  '{% block b %}{{ i }}{% endblock %}',
  '{% for i in [1] %}{% block b %}{{ i }}{% endblock %}{% endfor %}',
  '{% for q in [1] %}{% block b scoped %}{{ q }}{% endblock b %}{% endfor %}',
  '{% do 1 %}',
  '{% nope %}',
  '{% if t %}a',
  '{% endif %}',
  '{% for %}',
  '{% if t %}{% endfor %}',
  '{% if t %}a{% else %}b{% else %}c{% endif %}',
  '{% set true = 1 %}',
  '{% set 1 = 1 %}',
  '{% include "x" %}',
  '{# comment',
  '{{ x',
  '{% raw %}x',
  '{% set joined = joiner(",") %}{% for x in list %}{{ joined() }}{{ x }}{% endfor %}',
  '{% set c = cycler("a", "b") %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}',
  // White space.
  'a\n{% if t %}\n  b\n{% endif %}\nc\n',
  'a\n  {% if t %}  \n  b\n  {% endif %}\nc\n\n',
  'a\n  {%+ if t %}\n  b\n  {%+ endif %}\nc',
  'a\n  {% if t +%}\n  b\n  {% endif +%}\nc',
  'a  {%- if t -%}  b  {%- endif -%}  c',
  'a\n\n  {{- i -}}  \n\n b',
  'a {{ i }}\n{{ i }}\n',
  '  {{ i }}\n  {{+ i }}',
  '  {# c #}\nx\n  {#- c -#}  y {#+ c +#}\nz',
  'a\r\nb\rc{{ "x\r\ny" }}\r\n',
  '\t{% if t %}\t\n\tx{% endif %}',
  'x {% if t %} y{% endif %}',
  '{% if t %}{% endif %}  {% if t %}z{% endif %}',
  '{% if t %}\n\n\n{% endif %}|',
  '\u00a0 {%- if t %}a{% endif %}\u00a0',
  '\n{{ i }}\n\n',
  '{{ i }}\n\n',
  '\n',
  '',
  '{{ "}}" }}{{ "{%" }}{{ \'%}\' }}',
  '{{ {"a": {"b": 1}}.a.b }}',
  '{{ {"a": {"b": 1}}}}',
  '{{- "a" -}}\n{{ "b" }}',
  '{%for x in list%}{{x}}{%endfor%}',
  '{%- for m in messages %}{%- if m.role == "assistant" %}{{ m.content.split("</think>")[-1].lstrip("\\n") }}{%- endif %}{%- endfor %}',
  '{%- for m in messages[::-1] %}{{ m.role }}{%- endfor %}',
  '{% for m in messages %}{{ m["role"] + ": " + m["content"] + ("\\n" if not loop.last else "") }}{% endfor %}',
  '{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == "user" and not ns.found %}{% set ns.found = true %}{{ loop.index0 }}{% endif %}{% endfor %}{{ ns.found }}',
  '{% if messages[0].role == "system" %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ system }}{{ rest | length }}',
  '{%- macro render(m) -%}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{%- endmacro -%}{% for m in messages %}{{ render(m) }}{% endfor %}',
];
