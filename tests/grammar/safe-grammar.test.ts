import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/checkpoint/json/json-parser.ts';
import { StructuredOutputsError } from '../../src/errors.ts';
import { safeGrammar } from '../../src/grammar/forms/safe-grammar.ts';
import type { StructuredOutputs } from '../../src/grammar/forms/structured-outputs.ts';
import { few, runs } from '../runs.ts';
import { bundledTokenizer } from '../text/tokenizers.ts';
import { mutated, RandomAnswers, randomNumbers } from './answers.ts';

const answers = new RandomAnswers(await bundledTokenizer(), 0);
afterAll(() => answers.grammars.dispose());

/** A form, texts that it may have, and letters that occur in them. */
interface Case {
  readonly form: StructuredOutputs;
  readonly isAllowed: (text: string) => boolean;
  readonly texts: readonly string[];
  readonly alphabet: readonly string[];
}

/** Texts that are given, random ones of the form, and those with a character changed. @param isExact whether a form has all texts. */
async function assertExact({ form, isAllowed, texts, alphabet }: Case, seed: number, isExact = true): Promise<void> {
  const random = randomNumbers(seed);
  const own: string[] = [...texts];
  for (let i = 0; i < 3; i++) own.push((await answers.answer(form, seed + i, 60)) ?? '');
  const changed = own.flatMap((text) => [1, 2, 3].map(() => mutated(text, random, alphabet)));
  for (const text of new Set([...own, ...changed])) {
    const isAccepted = await answers.accepts(form, text, seed);
    const words = `${JSON.stringify(text)} of ${JSON.stringify(form)}`;
    if (isExact || isAccepted) expect([words, isAccepted]).toEqual([words, isAllowed(text)]);
  }
}

const LETTERS = ['a', 'b', 'c', 'é', '日', '本'];
const someText = fc.array(fc.constantFrom(...LETTERS), { maxLength: 6 }).map((letters) => letters.join(''));

/** An expression in EBNF and as a regular expression; both have what follows after it in the same group. */
interface Both {
  readonly ebnf: string;
  readonly regex: string;
}

const { expression } = fc.letrec<{ expression: Both }>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 4 },
    fc
      .array(fc.constantFrom(...LETTERS), { minLength: 1, maxLength: 3 })
      .map((letters) => ({ ebnf: `"${letters.join('')}"`, regex: letters.join('') })),
    fc
      .constantFrom('[ab]', '[^a]', '[a-c]', '[b日]', '[^\\x00-\\x7f]')
      .map((letters) => ({ ebnf: letters, regex: letters })),
    fc.array(tie('expression'), { minLength: 2, maxLength: 3 }).map((parts) => ({
      ebnf: parts.map(({ ebnf }) => ebnf).join(' '),
      regex: parts.map(({ regex }) => regex).join(''),
    })),
    fc.array(tie('expression'), { minLength: 2, maxLength: 4 }).map((parts) => ({
      ebnf: `(${parts.map(({ ebnf }) => ebnf).join(' | ')})`,
      regex: `(?:${parts.map(({ regex }) => regex).join('|')})`,
    })),
    fc
      .tuple(tie('expression'), fc.constantFrom('*', '+', '?', '{1,2}', '{2}', '{2,}'))
      .map(([{ ebnf, regex }, count]) => ({ ebnf: `(${ebnf})${count}`, regex: `(?:${regex})${count}` })),
  ),
}));

describe('exactly the texts of a form are accepted', () => {
  test('of regular expressions and grammars', async () => {
    const property = fc.asyncProperty(
      expression,
      fc.array(someText, { maxLength: 6 }),
      fc.nat(),
      async ({ ebnf, regex }, texts, seed) => {
        const pattern = new RegExp(`^(?:${regex})$`, 'u');
        const isAllowed = (text: string) => pattern.test(text);
        const grammar = `root ::= group | "(" root ")"\ngroup ::= ${ebnf}\n`;
        const isNested = (text: string): boolean =>
          isAllowed(text) || (/^\(.*\)$/su.test(text) && isNested(text.slice(1, -1)));
        await assertExact({ form: { regex }, isAllowed, texts, alphabet: LETTERS }, seed);
        await assertExact({ form: { grammar }, isAllowed: isNested, texts, alphabet: [...LETTERS, '(', ')'] }, seed);
      },
    );
    await fc.assert(property, { numRuns: runs(120) });
  });

  test('of choices', async () => {
    const property = fc.asyncProperty(
      fc.uniqueArray(someText, { minLength: 1, maxLength: 8 }),
      fc.nat(),
      async (choice, seed) => {
        if (choice.every((text) => text === '')) return;
        const isAllowed = (text: string) => choice.includes(text);
        await assertExact({ form: { choice }, isAllowed, texts: choice, alphabet: LETTERS }, seed);
        const elements = choice.map((value) => ({ type: 'const_string', value }));
        if (choice.includes('')) return;
        await assertExact(
          { form: { structuralTag: { type: 'or', elements } }, isAllowed, texts: choice, alphabet: LETTERS },
          seed,
        );
      },
    );
    await fc.assert(property, { numRuns: runs(100) });
  });

  test.each(
    few(
      [
        ['cac', 'cbc', 'cbab'],
        ['bac', 'cbc', 'abac', 'cbbb', 'cabc'],
        ['日本', '日本語', '日記', '本日'],
      ],
      3,
    ),
  )('of %s, %s, %s …', async (...choice) => {
    const isAllowed = (text: string) => choice.includes(text);
    await assertExact(
      { form: { choice }, isAllowed, texts: [...choice, 'caab', 'babb', '日日'], alphabet: LETTERS },
      1,
    );
  });

  test.each(['(ab)*abc', '[a]*abc', 'a|ab|abc', '(a|ab)(c|bcd)(d*)', '(a|b)*a(a|b){12}', '(é|日|[^a])b', 'a{1,200}b?'])(
    'of %s',
    async (regex) => {
      const pattern = new RegExp(`^(?:${regex})$`, 'u');
      const texts = ['c', 'bc', 'abc', 'aabc', 'ababc', 'ab', 'abcd', 'acd', 'éb', '日b', `${'a'.repeat(200)}b`];
      await assertExact({ form: { regex }, isAllowed: (text) => pattern.test(text), texts, alphabet: LETTERS }, 2);
    },
  );
});

const ajv = new Ajv2020({ strict: false, validateFormats: false, logger: false });

/** Schemas whose parts begin alike, with values that they accept in the form that answers have. */
const SCHEMAS: readonly (readonly [JsonObject, readonly unknown[]])[] = [
  [{ type: 'array', items: { enum: [1, 12, 123, 132, 321, 13] } }, [[1], [12, 123], [321, 1, 13]]],
  [{ enum: ['cac', 'cbc', 'cbab', 'c', ''] }, ['cac', 'cbc', 'cbab', 'c', '']],
  [
    { anyOf: [{ const: 'a' }, { type: 'string', maxLength: 3 }, { type: 'string', pattern: 'a+b' }] },
    ['a', 'abc', 'aaaab'],
  ],
  [
    { anyOf: [{ type: 'integer', minimum: 1, maximum: 299 }, { type: 'number' }, { enum: [1, 1.5] }] },
    [1, 299, 1.5, -2e9],
  ],
  [
    {
      type: 'object',
      properties: { cac: { const: 1 }, cbc: { const: 12 }, cbab: { const: 121 }, c: { type: 'null' } },
      additionalProperties: { type: 'boolean' },
    },
    [
      { cac: 1, cbab: 121 },
      { cbc: 12, caab: true },
      { c: null, ca: false, cb: true },
    ],
  ],
  [
    {
      anyOf: [
        { type: 'object', properties: { a: { const: 1 }, b: { type: 'integer' } }, required: ['a', 'b'] },
        { type: 'object', properties: { a: { const: 12 }, c: { type: 'integer' } }, required: ['a', 'c'] },
        { type: 'object', properties: { a: { const: 1 }, d: { type: 'null' } }, required: ['a'] },
      ],
    },
    [{ a: 1, b: 3 }, { a: 12, c: 33 }, { a: 1 }, { a: 1, d: null }],
  ],
  [
    {
      anyOf: [
        { type: 'array', items: { type: 'integer' }, minItems: 2 },
        { type: 'array', items: { type: 'string' } },
      ],
    },
    [[], ['a'], [1, 2], [1, 2, 3]],
  ],
];

describe('what a schema does not accept is no answer', () => {
  test.each(few(SCHEMAS, 5).map(([schema, values]) => [JSON.stringify(schema), schema, values] as const))(
    '%s',
    async (_, schema, values) => {
      const isAllowed = (text: string) => {
        try {
          return ajv.validate(schema, JSON.parse(text));
        } catch {
          return false;
        }
      };
      const texts = values.map((value) => JSON.stringify(value));
      for (const text of texts) expect([text, await answers.accepts({ json: schema }, text, 1)]).toEqual([text, true]);
      const alphabet = [...'0123abc"{}[]:,-. e'];
      for (let seed = 0; seed < runs(40); seed++) {
        await assertExact({ form: { json: schema }, isAllowed, texts, alphabet }, seed, false);
      }
    },
  );
});

describe('a grammar is refused', () => {
  test.each([
    ['root ::= [', 'line 1, column 11: a class has no end'],
    ['root ::= "a', 'a text has no end'],
    ['root ::= a', "there is no rule 'a'"],
    ['a ::= "a"', "no rule 'root'"],
    ['root ::= "a"\nroot ::= "b"', "'root' is there twice"],
    ['root ::= ("a"', "expected ')'"],
    ['root ::= "a"{3,2}', '{3,2}'],
    ['root ::= [z-a]', 'ends before it begins'],
    ['root ::= [一-龥]', 'more than 256'],
    ['root ::= []', 'no text is of the form'],
    ['root ::= TagDispatch(("a", b))', 'TagDispatch'],
    ['root ::= "\\q"', "'\\q'"],
    ['root = "a"', "'::='"],
    [`root ::= ${'('.repeat(600)}"a"${')'.repeat(600)}`, 'nested more than 500'],
  ])('%s', (grammar, words) => {
    expect(() => safeGrammar(grammar)).toThrow(StructuredOutputsError);
    expect(() => safeGrammar(grammar)).toThrow(words);
  });
});
