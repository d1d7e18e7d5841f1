import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { LLM } from '../../../src/engine/llm.ts';
import { ThoughtText } from '../../../src/text/parsers/thought-text.ts';
import { TINY_DTS } from '../../cli/tiny-dts.ts';

const llm = await LLM.load(TINY_DTS);
afterAll(() => llm.dispose());

const PROMPT = 'export interface User {';
const GREEDY = { temperature: 0, maxTokens: 60 };
/** What the model writes as a matter of course serves as the end of its thoughts. */
const thoughts = { begin: '<think>', end: '}', isOpen: true };

describe('stop strings', () => {
  test('end the answer, not its thoughts', async () => {
    const { text: free } = await llm.complete(PROMPT, GREEDY);
    const end = free.indexOf('}');
    expect(free.slice(0, end)).toContain(';');
    const stop = ';';
    const { text } = await llm.complete(PROMPT, { ...GREEDY, stop, thoughts });
    const next = free.indexOf(stop, end);
    expect(text).toBe(next < 0 ? free : free.slice(0, next));
    for (const isOpen of [undefined, false]) {
      const { text } = await llm.complete(PROMPT, { ...GREEDY, stop, thoughts: { ...thoughts, isOpen } });
      expect(text).toBe(free.slice(0, free.indexOf(stop)));
    }
  });

  test('of thoughts that do not end there are none', async () => {
    const options = { ...GREEDY, maxTokens: 20 };
    const { text } = await llm.complete(PROMPT, { ...options, stop: ';', thoughts: { ...thoughts, end: '§§' } });
    expect(text).toBe((await llm.complete(PROMPT, options)).text);
  });
});

describe('a budget', () => {
  test.each([0, 1, 5])('of %i tokens ends thoughts with their marker, alone and in a batch', async (tokens) => {
    const end = ' /* end */';
    const endTokenIds = llm.tokenizer?.encode(end, { addSpecialTokens: false }) ?? [];
    expect(endTokenIds.length).toBeGreaterThan(1);
    const { tokenIds: free } = await llm.complete(PROMPT, GREEDY);
    const options = { ...GREEDY, thoughts: { begin: '<', end, isOpen: true, budget: { tokens, endTokenIds } } };
    const answers = await Promise.all([1, 2, 3].map(() => llm.complete(PROMPT, options)));
    for (const { tokenIds, text } of answers) {
      expect(tokenIds.slice(0, tokens)).toEqual(free.slice(0, tokens));
      expect(tokenIds.slice(tokens, tokens + endTokenIds.length)).toEqual(endTokenIds);
      expect(text).toContain(end);
      expect(tokenIds).toHaveLength(60);
    }
    expect(answers[1]).toEqual(answers[0]);
  });

  test('that is not used up changes nothing', async () => {
    const { tokenIds } = await llm.complete(PROMPT, GREEDY);
    const budget = { tokens: 60, endTokenIds: [1] };
    expect((await llm.complete(PROMPT, { ...GREEDY, thoughts: { ...thoughts, budget } })).tokenIds).toEqual(tokenIds);
  });
});

test('thoughts are told from the rest in any pieces', () => {
  const parts = fc.array(fc.constantFrom('<think>', '</think>', '<thi', '</', 'a', ' ', '<'), { maxLength: 12 });
  fc.assert(
    fc.property(parts, fc.constantFrom(true, false, undefined), (pieces, isOpen) => {
      const read = (given: readonly string[]) => {
        const text = new ThoughtText({ begin: '<think>', end: '</think>', isOpen });
        const found = [...given.map((piece) => text.push(piece)), text.flush()];
        const joined = (name: keyof (typeof found)[0]) => found.map((parts) => parts[name]).join('');
        return [joined('begin'), joined('thoughts'), joined('end'), joined('rest')];
      };
      const whole = pieces.join('');
      expect(read(pieces)).toEqual(read([whole]));
      expect(read([...whole])).toEqual(read([whole]));
      expect(read(pieces).join('')).toBe(whole);
    }),
  );
});
