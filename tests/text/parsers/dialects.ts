import fc from 'fast-check';
import type { AnswerForm } from '../../../src/text/parsers/answer-parser.ts';
import { AnswerParser } from '../../../src/text/parsers/answer-parser.ts';
import { chooseToolDialect } from '../../../src/text/parsers/choose-parsers.ts';
import { ParsedAnswer } from '../../../src/text/parsers/parsed-answer.ts';
import type { ToolFunction } from '../../../src/text/parsers/tool-definition.ts';
import type { ToolDialect } from '../../../src/text/parsers/tool-dialect.ts';

/** A call as a test writes it. */
export interface Called {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** A family of models, and how one writes a text with calls. */
export interface Family {
  readonly name: string;
  readonly dialect: ToolDialect;
  write(calls: readonly Called[]): string;
}

function dialect(name: string): ToolDialect {
  const found = chooseToolDialect('', name);
  if (!found) throw new Error(name);
  return found;
}

function python(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') {
    return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
  }
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (typeof value !== 'object') return String(value);
  return `{${Object.entries(value as object)
    .map(([key, each]) => `${python(key)}: ${python(each)}`)
    .join(', ')}}`;
}

const tagged = (calls: readonly Called[], write: (call: Called) => string) =>
  calls.map((call) => `<tool_call>\n${write(call)}\n</tool_call>`).join('\n');

const xml = ({ name, arguments: given }: Called) => {
  const parameters = Object.entries(given).map(
    ([key, value]) =>
      `<parameter=${key}>\n${typeof value === 'string' ? value : JSON.stringify(value)}\n</parameter>\n`,
  );
  return `<function=${name}>\n${parameters.join('')}</function>`;
};

export const FAMILIES: readonly Family[] = [
  { name: 'granite4', dialect: dialect('granite4'), write: (calls) => tagged(calls, (call) => JSON.stringify(call)) },
  {
    name: 'hermes, indented',
    dialect: dialect('hermes'),
    write: (calls) => tagged(calls, (call) => JSON.stringify(call, null, 2)),
  },
  {
    name: 'falcon_h1, arguments first',
    dialect: dialect('falcon_h1'),
    write: (calls) => tagged(calls, ({ name, arguments: args }) => JSON.stringify({ arguments: args, name })),
  },
  { name: "falcon_h1, Python's quotes", dialect: dialect('falcon_h1'), write: (calls) => tagged(calls, python) },
  {
    name: 'arguments as text',
    dialect: dialect('granite4'),
    write: (calls) =>
      tagged(calls, ({ name, arguments: args }) => JSON.stringify({ name, arguments: JSON.stringify(args) })),
  },
  {
    name: 'nemotron_json',
    dialect: dialect('nemotron_json'),
    write: (calls) => (calls.length === 0 ? '' : `<TOOLCALL>${JSON.stringify(calls)}</TOOLCALL>`),
  },
  {
    name: 'mistral',
    dialect: dialect('mistral'),
    write: (calls) => (calls.length === 0 ? '' : `[TOOL_CALLS] ${JSON.stringify(calls)}`),
  },
  {
    name: 'mistral, later',
    dialect: dialect('mistral'),
    write: (calls) =>
      calls.map(({ name, arguments: args }) => `[TOOL_CALLS]${name}[ARGS]${JSON.stringify(args)}`).join(''),
  },
  { name: 'qwen3_xml', dialect: dialect('qwen3_xml'), write: (calls) => tagged(calls, xml) },
  { name: 'qwen3_xml, without outer tags', dialect: dialect('qwen3_xml'), write: (calls) => calls.map(xml).join('\n') },
];

/** Everything that an answer says. Ids are random, so only their form counts. */
export function parse(form: AnswerForm, pieces: readonly string[]) {
  const parser = new AnswerParser(form);
  const answer = new ParsedAnswer();
  for (const piece of pieces) answer.add(parser.push(piece));
  answer.add(parser.flush());
  const calls = answer.toolCalls.map(({ function: called }) => called);
  return { text: answer.text, reasoning: answer.reasoning, calls };
}

const TYPES: Readonly<Record<string, string>> = { string: 'text', number: 'number', boolean: 'flag', object: 'thing' };

/** Functions whose parameters are named by their type, so that XML's plain texts have one. */
export const TOOLS: readonly ToolFunction[] = [
  {
    name: 'f',
    parameters: {
      type: 'object',
      properties: {
        text: { type: 'string' },
        number: { type: 'number' },
        flag: { type: 'boolean' },
        thing: { anyOf: [{ type: 'object' }, { type: 'array' }, { type: 'null' }] },
      },
    },
  },
];

/** Texts that are likely to trouble a parser, without the one that ends a value in XML. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: fc.constantFrom('"', "'", '\\', '{', '}', '[', ']', '\n', '<', '>', '/', ',', ':', 'é', '😀') }),
  fc.constantFrom('</tool_call>', '<tool_call>', '[TOOL_CALLS]', '</think>', '<function=', '\n\n', ' ', '"}', 'null'),
);

/** Doubles that JSON gives back as they were: -0 becomes 0. */
const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value));

const called: fc.Arbitrary<Called> = fc
  .record(
    {
      [TYPES.string]: text,
      [TYPES.number]: number,
      [TYPES.boolean]: fc.boolean(),
      [TYPES.object]: fc.oneof(
        fc.dictionary(
          text.filter((key) => key !== '__proto__'),
          fc.oneof(text, number, fc.constant(null)),
        ),
        fc.array(fc.oneof(text, fc.boolean())),
        fc.constant(null),
      ),
    },
    { requiredKeys: [] },
  )
  .map((given) => ({ name: 'f', arguments: given }));

export const calls = fc.array(called, { maxLength: 3 });

/** A text's pieces, cut at any places. */
export function cuts(whole: string, places: readonly number[]): string[] {
  const sorted = places.map((place) => place % (whole.length + 1)).toSorted((a, b) => a - b);
  return [...sorted, whole.length].map((end, i) => whole.slice(i === 0 ? 0 : sorted[i - 1], end));
}
