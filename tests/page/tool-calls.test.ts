import { describe, expect, test } from 'vitest';
import { readSchema, readTools } from '../../src/page/json-forms.ts';
import { Conversation } from '../../src/page/turns/conversation.ts';
import { CallList, readableArguments, type ToolCallDelta } from '../../src/page/turns/tool-calls.ts';

describe('calls', () => {
  const whole = [
    { id: 'a', name: 'f', arguments: '{"x": [1, "é😀"]}' },
    { id: 'b', name: 'g', arguments: '{}' },
  ];
  const expected = whole.map(({ id, ...called }) => ({ id, type: 'function', function: called }));

  test('are the same wherever their arguments are cut', () => {
    for (let cut = 0; cut <= whole[0].arguments.length; cut++) {
      const calls = new CallList();
      whole.forEach(({ id, name, arguments: text }, index) => {
        const parts = [text.slice(0, cut), text.slice(cut)].map((part): ToolCallDelta => ({ index, arguments: part }));
        calls.add([{ index, id, name }]);
        for (const part of parts) calls.add([part]);
      });
      expect(calls.whole).toEqual(expected);
    }
  });

  test('that break off are none', () => {
    const calls = new CallList();
    calls.add(whole.map((call, index) => ({ index, ...call })));
    calls.add([{ index: 2, id: 'c', name: 'h', arguments: '{"x": ' }]);
    expect(calls.all.size).toBe(3);
    expect(calls.whole).toEqual(expected);
    calls.add([{ index: 1, isMalformed: true }]);
    expect(calls.whole).toEqual(expected.slice(0, 1));
    calls.clear();
    expect(calls.whole).toEqual([]);
  });

  test('are readable', () => {
    expect(readableArguments('{"a":1}')).toBe('{\n  "a": 1\n}');
    expect(readableArguments('{"a":')).toBe('{"a":');
  });

  test('and their results are messages, between answer and question', () => {
    const conversation = new Conversation();
    const first = conversation.begin('q');
    const [call] = expected as { id: string; type: 'function'; function: { name: string; arguments: string } }[];
    Object.assign(first, { answer: 'a', thoughts: 't', calls: [call] });
    conversation.begin('next', [{ call, content: 'r' }]);
    expect(conversation.question('s')).toEqual({
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'a', reasoning_content: 't', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'a', content: 'r' },
        { role: 'user', content: 'next' },
      ],
    });
  });
});

describe('what the reader writes', () => {
  const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object' } } };

  test('are tools, with or without the outer object', () => {
    expect(readTools([tool])).toEqual([tool]);
    expect(readTools([tool.function, tool])).toEqual([tool, tool]);
    expect(readTools(tool.function)).toEqual([tool]);
    expect(readTools([])).toEqual([]);
  });

  test.each([
    [3, /The tool is a number/],
    [[tool, null], /Tool 2 is null/],
    [{ function: {} }, /The tool has no name/],
    [[{ name: 'f', description: 1 }], /description of 'f' is a number/],
    [[{ name: 'f', parameters: [] }], /parameters of 'f' are a list/],
  ])('is no list of tools: %j', (value, problem) => {
    expect(() => readTools(value)).toThrow(problem);
  });

  test('is a schema, or not', () => {
    expect(readSchema({ type: 'object' })).toEqual({ type: 'object' });
    for (const value of ['{}', [], null, 1, true])
      expect(() => readSchema(value)).toThrow(/A JSON Schema is an object/);
  });
});
