import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { AnswerParser } from '../../../src/text/parsers/answer-parser.ts';
import {
  chooseReasoningDialect,
  chooseToolDialect,
  REASONING_PARSERS,
  TOOL_CALL_PARSERS,
} from '../../../src/text/parsers/choose-parsers.ts';
import { calls, cuts, FAMILIES, parse, TOOLS } from './dialects.ts';

const think = { begin: '<think>', end: '</think>' };
const places = fc.array(fc.nat(5000), { maxLength: 12 });

/** Garbage out of what calls are made of. */
const garbage = fc
  .array(
    fc.oneof(
      fc.constantFrom('<tool_call>', '</tool_call>', '<function=f>', '</function>', '<parameter=text>', '</parameter>'),
      fc.constantFrom('[TOOL_CALLS]', '[ARGS]', '<TOOLCALL>', '</TOOLCALL>', '<think>', '</think>', '{"name": "f"'),
      fc.constantFrom(
        '"arguments": ',
        '{',
        '}',
        '[',
        ']',
        ',',
        '"',
        "'",
        '\\',
        '\n',
        ' ',
        'f',
        '1e',
        '\ud83d',
        '\ude00',
      ),
      fc.string({ unit: 'binary', maxLength: 4 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

describe.each(FAMILIES)('$name', ({ name, dialect, write }) => {
  const toolCalls = { dialect, tools: TOOLS };

  test('gives the calls back, with the text before them', () => {
    fc.assert(
      fc.property(calls, (given) => {
        const found = parse({ toolCalls }, [`I look.\n${write(given)}`]);
        expect(found.text).toBe(given.length === 0 ? 'I look.\n' : 'I look.');
        expect(found.calls.map((call) => ({ ...call, arguments: JSON.parse(call.arguments) }))).toEqual(given);
      }),
    );
  });

  test('gives the same parts however the text is cut', () => {
    fc.assert(
      fc.property(calls, places, fc.boolean(), (given, at, isTail) => {
        const whole = `<think>a < b</think>${write(given)}${isTail ? '\nDone.' : ''}`;
        const form = { toolCalls, reasoning: { ...think, isOpen: undefined } };
        const found = parse(form, [whole]);
        expect(found.reasoning).toBe('a < b');
        expect(found.calls).toHaveLength(given.length);
        expect(parse(form, cuts(whole, at))).toEqual(found);
        expect(parse(form, [...whole])).toEqual(found);
      }),
    );
  });

  test('throws at no text, and loses none that is not a call', () => {
    fc.assert(
      fc.property(garbage, places, (whole, at) => {
        const found = parse({ toolCalls }, [whole]);
        expect(parse({ toolCalls }, cuts(whole, at))).toEqual(found);
        for (const call of found.calls) expect(typeof JSON.parse(call.arguments)).toBe('object');
        if (found.calls.length === 0) expect(found.text).toBe(whole);
      }),
      { numRuns: 300 },
    );
  });

  test('leaves a call that breaks off as text', () => {
    const whole = write([{ name: 'f', arguments: { text: 'a text', flag: true } }]);
    // The last closing brace or tag makes a call whole; its end marker may be missing.
    for (let end = 1; end < whole.length; end++) {
      const { calls: found, text } = parse({ toolCalls }, [whole.slice(0, end)]);
      if (found.length > 0) expect(JSON.parse(found[0].arguments)).toEqual({ text: 'a text', flag: true });
      else expect(text, `${name} after ${end}`).toBe(whole.slice(0, end));
    }
  });

  test('gives as many calls as the answer may have', () => {
    const given = [1, 2, 3].map((number) => ({ name: 'f', arguments: { number } }));
    const { calls: found, text } = parse({ toolCalls: { ...toolCalls, maxCalls: 1 } }, [write(given)]);
    expect(found.map((call) => JSON.parse(call.arguments))).toEqual([{ number: 1 }]);
    expect(text).toBe('');
  });
});

describe('calls as they grow', () => {
  const of = (name: string) => ({ dialect: chooseToolDialect('', name) ?? FAMILIES[0].dialect, tools: TOOLS });

  test.each(['granite4', 'qwen3_xml'])('%s: the name comes first, then the arguments piece by piece', (name) => {
    const family = FAMILIES.find((each) => each.name === name) ?? FAMILIES[0];
    const long = 'word '.repeat(20);
    const parser = new AnswerParser({ toolCalls: of(name) });
    const deltas = [...family.write([{ name: 'f', arguments: { text: long } }])].flatMap((char) => parser.push(char));
    const [{ call: first }, ...rest] = deltas.flatMap((delta) => (delta.type === 'toolCall' ? [delta] : []));
    expect(first).toMatchObject({ index: 0, name: 'f' });
    expect(first.id).toMatch(/^call_\w{24}$/);
    expect(rest.length).toBeGreaterThan(long.length);
    for (const { call } of rest) expect(Object.keys(call).sort()).toEqual(['arguments', 'index']);
  });

  test('ids are those that the templates take', () => {
    const parser = new AnswerParser({ toolCalls: of('mistral') });
    const [delta] = parser.push('[TOOL_CALLS][{"name": "f", "arguments": {}}]');
    expect(delta).toMatchObject({ type: 'toolCall', call: { id: expect.stringMatching(/^[A-Za-z0-9]{9}$/) } });
  });

  test('a malformed call is taken back, and comes as text', () => {
    const parser = new AnswerParser({ toolCalls: of('hermes') });
    const whole = '<tool_call>{"name": "f", "arguments": {"a": oops}}</tool_call>';
    const deltas = [...parser.push(whole), ...parser.flush()];
    expect(deltas.map(({ type }) => type)).toEqual(['toolCall', 'malformedCall', 'text']);
    expect(deltas.at(-1)).toEqual({ type: 'text', text: whole });
  });

  test('control characters inside strings are mended', () => {
    const found = parse({ toolCalls: of('hermes') }, ['<tool_call>{"name": "f", "arguments": {"text": "a\nb"}}']);
    expect(JSON.parse(found.calls[0].arguments)).toEqual({ text: 'a\nb' });
  });
});

describe('values in XML', () => {
  const types = {
    integer: { type: 'integer' },
    maybe: { type: ['string', 'null'] },
    choice: { enum: ['a', 'b'] },
    ref: { $ref: '#/$defs/point' },
    untyped: {},
  };
  const parameters = { type: 'object', properties: types, $defs: { point: { properties: {} } } };
  const value = (key: string, text: string) => {
    const toolCalls = { dialect: FAMILIES[8].dialect, tools: [{ name: 'f', parameters }] };
    const written = `<function=f><parameter=${key}>${text}</parameter></function>`;
    return JSON.parse(parse({ toolCalls }, [written]).calls[0].arguments)[key];
  };

  test.each([
    ['integer', '\n5\n', 5],
    ['integer', 'five', 'five'],
    ['maybe', 'null', null],
    ['maybe', '5', '5'],
    ['choice', 'a', 'a'],
    ['ref', '\n{"x": 1}\n', { x: 1 }],
    ['ref', "{'x': True}", { x: true }],
    ['untyped', '5', '5'],
    ['unknown', 'true', 'true'],
  ])('%s: %s', (key, text, expected) => {
    expect(value(key, text)).toEqual(expected);
  });
});

describe('thoughts', () => {
  const whole = (isOpen: boolean | undefined, text: string) => {
    const { reasoning, text: rest } = parse({ reasoning: { ...think, isOpen } }, [text]);
    return [reasoning, rest];
  };

  test('are those that the answer or the prompt opens', () => {
    expect(whole(undefined, '<think>\nHm.\n</think>\n\nYes.')).toEqual(['Hm.', 'Yes.']);
    expect(whole(undefined, 'Yes. <think>Hm.</think>')).toEqual([undefined, 'Yes. <think>Hm.</think>']);
    expect(whole(true, 'Hm.\n</think>\nYes.')).toEqual(['Hm.', 'Yes.']);
    expect(whole(true, 'Hm, this does not end')).toEqual(['Hm, this does not end', '']);
    expect(whole(false, '<think>Yes.')).toEqual([undefined, '<think>Yes.']);
    expect(whole(undefined, '<think>\n\n</think>\n\nYes.')).toEqual([undefined, 'Yes.']);
    expect(whole(undefined, ' <thi')).toEqual([undefined, ' <thi']);
  });

  test('may have any cuts', () => {
    fc.assert(
      fc.property(garbage, places, fc.constantFrom(true, false, undefined), (text, at, isOpen) => {
        const form = { reasoning: { ...think, isOpen } };
        expect(parse(form, cuts(text, at))).toEqual(parse(form, [text]));
      }),
    );
  });
});

describe('the choice of parsers', () => {
  test.each([
    ['{{ "<tool_call>" }} <|start_of_role|>', 'granite4'],
    ['<tool_call> {"name": <function-name>}', 'hermes'],
    ["<tool_call>\\n{\\'arguments\\': <args-dict>, \\'name\\': <function-name>}", 'falcon_h1'],
    ['<tool_call>\\n<function=', 'qwen3_xml'],
    ['[TOOL_CALLS]', 'mistral'],
    ['<TOOLCALL>[', 'nemotron_json'],
    ['{{ messages }}', undefined],
  ])('is made by the template: %s', (template, name) => {
    expect(chooseToolDialect(template)?.name).toBe(name);
    expect(chooseToolDialect(template, 'none')).toBeUndefined();
  });

  test('has a name for each', () => {
    for (const name of TOOL_CALL_PARSERS)
      expect(chooseToolDialect('', name) === undefined).toBe(/auto|none/.test(name));
    for (const name of REASONING_PARSERS) {
      expect(chooseReasoningDialect('', name) === undefined).toBe(/auto|none/.test(name));
    }
    expect(() => chooseToolDialect('', 'toString')).toThrow(ArgumentError);
    expect(() => chooseReasoningDialect('', 'gpt')).toThrow(/reasoningParser 'gpt'/);
    expect(chooseReasoningDialect("{{ '</think>' }}")?.name).toBe('think');
  });
});
