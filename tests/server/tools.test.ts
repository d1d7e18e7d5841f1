import type OpenAI from 'openai';
import { afterEach, describe, expect, test } from 'vitest';
import { TOOL_TEMPLATE } from './chat-templates.ts';
import { scripted } from './scripted-answers.ts';
import { readEvents, sharedServer } from './test-server.ts';

const server = await sharedServer({ chatTemplate: TOOL_TEMPLATE });
const { client, llm } = server;
const script = scripted(llm);
afterEach(() => {
  expect(script.answers).toEqual([]);
  script.requests.length = 0;
});

const model = 'tiny-dts';
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'Rain in Lyon?' }];
const tools: OpenAI.ChatCompletionFunctionTool[] = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Weather of a city',
      parameters: {
        type: 'object',
        properties: { city: { type: 'string', default: '' } },
        additionalProperties: false,
      },
    },
  },
];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';
const params = { model, messages, tools };

/** The text of the last request's prompt. */
const prompt = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });

describe('tools', () => {
  test('calls come whole', async () => {
    script.answers.push(`I look. ${CALL}`);
    const { choices } = await client.chat.completions.create(params);
    expect(choices[0].finish_reason).toBe('tool_calls');
    expect(choices[0].message).toEqual({
      role: 'assistant',
      content: 'I look.',
      refusal: null,
      tool_calls: [
        {
          id: expect.stringMatching(/^call_\w{24}$/),
          type: 'function',
          function: { name: 'weather', arguments: '{"city": "Lyon"}' },
        },
      ],
    });
    // The schema gets to the template as it came, empty values included.
    expect(prompt()).toContain('<tool>weather {"type": "function", "function": {"name": "weather"');
    expect(prompt()).toContain('"default": ""');
  });

  test('a message that is only calls has no content', async () => {
    script.answers.push(`${CALL}\n${CALL}`);
    const { choices } = await client.chat.completions.create(params);
    expect(choices[0].message.content).toBeNull();
    expect(choices[0].message.tool_calls).toHaveLength(2);
  });

  test('calls come in pieces, and the official client puts them together', async () => {
    script.answers.push(`I look.\n${CALL}\n${CALL}`, `I look.\n${CALL}\n${CALL}`);
    const whole = await client.chat.completions.create(params);
    const stream = client.chat.completions.stream(params);
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta[] = [];
    stream.on('chunk', (chunk) => deltas.push(chunk.choices[0].delta));
    const final = await stream.finalChatCompletion();
    expect(final.choices[0].finish_reason).toBe('tool_calls');
    const called = ({ choices }: OpenAI.ChatCompletion) =>
      choices[0].message.tool_calls?.map((call) => call.type === 'function' && call.function.arguments);
    expect(called(final)).toEqual(called(whole));
    expect(final.choices[0].message.content).toBe('I look.');
    expect(deltas[0].role).toBe('assistant');
    const calls = deltas.flatMap(({ tool_calls: news = [] }) => news);
    expect(calls[0]).toMatchObject({
      index: 0,
      id: expect.any(String),
      type: 'function',
      function: { name: 'weather' },
    });
    const later = calls.filter(({ id }) => id === undefined);
    expect(later.length).toBeGreaterThan(4);
    for (const call of later) expect(call).toEqual({ index: call.index, function: { arguments: expect.any(String) } });
    expect(new Set(calls.map(({ index }) => index))).toEqual(new Set([0, 1]));
  });

  test('an agent goes round: calls, results, answer', async () => {
    script.answers.push(CALL, 'It rains.');
    const asked: unknown[] = [];
    const runner = client.chat.completions.runTools({
      model,
      messages,
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: '',
            parameters: { type: 'object', properties: {} },
            parse: JSON.parse,
            function: (city: object) => {
              asked.push(city);
              return 'rain';
            },
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe('It rains.');
    expect(asked).toEqual([{ city: 'Lyon' }]);
    expect(prompt()).toMatch(
      /<\|assistant\|><tool_call>\{"name": "weather", "arguments": \{"city": "Lyon"\}\}<\/tool_call>\n?<\|tool\|>rain for call_\w{24}/,
    );
  });

  test('a malformed call is text', async () => {
    const broken = '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>';
    script.answers.push(broken, '<tool_call>{"name": "weather", "argu');
    for (const text of [...script.answers]) {
      const { choices } = await client.chat.completions.create(params);
      expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: text } });
      expect(choices[0].message.tool_calls).toBeUndefined();
    }
    script.answers.push(broken);
    const { events, done } = await readEvents(await server.post('/v1/chat/completions', { ...params, stream: true }));
    expect(done).toBe(true);
    const deltas = events.map((event) => (event.choices as OpenAI.ChatCompletionChunk.Choice[])[0]);
    expect(deltas.map(({ delta }) => delta.content ?? '').join('')).toBe(broken);
    expect(deltas.at(-1)?.finish_reason).toBe('stop');
  });

  test('an answer that is cut off says so', async () => {
    script.answers.push(CALL);
    const { choices } = await client.chat.completions.create({ ...params, max_tokens: 5 });
    expect(choices[0].finish_reason).toBe('length');
  });

  test('one call at most without parallel calls, and none without tools', async () => {
    script.answers.push(`${CALL}\n${CALL}`, CALL, CALL);
    const one = await client.chat.completions.create({ ...params, parallel_tool_calls: false });
    expect(one.choices[0].message.tool_calls).toHaveLength(1);
    for (const none of [
      { ...params, tool_choice: 'none' as const },
      { model, messages },
    ]) {
      const { choices } = await client.chat.completions.create(none);
      expect(choices[0].message).toEqual({ role: 'assistant', content: CALL, refusal: null });
      expect(prompt()).not.toContain('<tool>');
    }
  });

  test('each of several answers has its own', async () => {
    script.answers.push(CALL);
    const { choices } = await client.chat.completions.create({ ...params, n: 2 });
    const ids = choices.map(({ message }) => message.tool_calls?.[0].id);
    expect(new Set(ids).size).toBe(2);
  });

  test('a call that must come is a form for the engine', async () => {
    script.answers.push(CALL, CALL);
    for (const tool_choice of ['required', { type: 'function', function: { name: 'weather' } }] as const) {
      const { choices } = await client.chat.completions.create({ ...params, tool_choice });
      expect(choices[0].finish_reason).toBe('tool_calls');
      expect(script.requests.at(-1)?.grammar).toBeDefined();
    }
  });

  const named = (name: string) => ({ ...tools[0], function: { ...tools[0].function, name } });
  test.each<[string, object, string, RegExp]>([
    ['a choice of none that is there', { tool_choice: 'any' }, 'tool_choice', /^tool_choice is "any"; expected 'auto'/],
    [
      'an unknown function',
      { tool_choice: { type: 'function', function: { name: 'g' } } },
      'tool_choice',
      /is the function 'g'/,
    ],
    ['a call without tools', { tools: [], tool_choice: 'required' }, 'tool_choice', /there are no tools/],
    ['tools of another kind', { tools: [{ type: 'web_search' }] }, 'tools', /entry 0 that is not/],
    ['a name that is none', { tools: [named('a b')] }, 'tools', /function name "a b"/],
    ['two of a name', { tools: [named('a'), named('a')] }, 'tools', /two functions with the name 'a'/],
    ['too many', { tools: Array.from({ length: 129 }, (_, i) => named(`f${i}`)) }, 'tools', /129 entries/],
    ['no list', { tools: { a: 1 } }, 'tools', /expected a list/],
  ])('refuses %s', async (_, fields, param, message) => {
    const response = await server.post('/v1/chat/completions', { ...params, ...fields });
    expect(response.status).toBe(400);
    const { error } = await response.json();
    expect(error.param).toBe(param);
    expect(error.message).toMatch(message);
  });

  test('history whose arguments are no JSON is answered', async () => {
    script.answers.push('ok', 'ok');
    for (const given of ['{"city": ', '']) {
      const call = { id: 'a', type: 'function' as const, function: { name: 'weather', arguments: given } };
      const { choices } = await client.chat.completions.create({
        model,
        messages: [
          ...messages,
          { role: 'assistant', content: null, tool_calls: [call] },
          { role: 'tool', tool_call_id: 'a', content: [{ type: 'text', text: 'rain' }] },
        ],
      });
      expect(choices[0].message.content).toBe('ok');
    }
  });
});

describe('thoughts', () => {
  test('are split off, streamed apart, and counted', async () => {
    const answer = '<think>\nIt may rain.\n</think>\n\nYes.';
    script.answers.push(answer, answer);
    const { choices, usage } = await client.chat.completions.create({ model, messages });
    expect(choices[0].message).toEqual({
      role: 'assistant',
      content: 'Yes.',
      refusal: null,
      reasoning: 'It may rain.',
      reasoning_content: 'It may rain.',
    });
    expect(usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(3);
    expect(usage?.completion_tokens_details?.reasoning_tokens).toBeLessThan(usage?.completion_tokens ?? 0);
    const { events } = await readEvents(
      await server.post('/v1/chat/completions', {
        model,
        messages,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    expect(events.at(-1)?.usage).toEqual(usage);
    const deltas = events.slice(0, -1).map((event) => (event.choices as { delta: Record<string, string> }[])[0].delta);
    const joined = (name: string) => deltas.map((delta) => delta[name] ?? '').join('');
    expect(joined('content')).toBe('Yes.');
    expect(joined('reasoning_content')).toBe('It may rain.');
    expect(joined('reasoning')).toBe('It may rain.');
  });

  test('are switched on and off through the template', async () => {
    script.answers.push('Hm.</think>Yes.', 'Yes.', 'Yes.', 'Hm.</think>Yes.', `Hm.</think>${CALL}`);
    const ask = async (fields: object) => {
      const response = await server.post('/v1/chat/completions', { messages, ...fields });
      return (await response.json()).choices[0].message;
    };
    expect(await ask({ chat_template_kwargs: { enable_thinking: true } })).toMatchObject({
      content: 'Yes.',
      reasoning: 'Hm.',
    });
    expect(prompt()).toMatch(/<think>\n$/);
    expect(await ask({ enable_thinking: false })).toEqual({ role: 'assistant', content: 'Yes.', refusal: null });
    expect(prompt()).toMatch(/<think><\/think>$/);
    expect((await ask({ reasoning_effort: 'none' })).reasoning).toBeUndefined();
    expect(prompt()).toMatch(/<think><\/think>none$/);
    expect((await ask({ enable_thinking: true, include_reasoning: false })).reasoning).toBeUndefined();
    const message = await ask({ enable_thinking: true, tools });
    expect(message).toMatchObject({ content: null, reasoning: 'Hm.', tool_calls: [{ function: { name: 'weather' } }] });
  });

  test('may end early, and are not searched for stop strings', async () => {
    script.answers.push('Hm.</think>Yes.', 'Yes.');
    const thinking = { messages, enable_thinking: true, thinking_token_budget: 7, stop: 'm' };
    expect((await server.post('/v1/chat/completions', thinking)).status).toBe(200);
    const endTokenIds = llm.tokenizer?.encode('</think>', { addSpecialTokens: false });
    const thoughts = { begin: '<think>', end: '</think>', isOpen: true, budget: { tokens: 7, endTokenIds } };
    expect(script.requests.at(-1)?.params.thoughts).toMatchObject(thoughts);
    await server.post('/v1/chat/completions', { messages, enable_thinking: false });
    expect(script.requests.at(-1)?.params.thoughts).toMatchObject({ isOpen: false, budget: undefined });
    const response = await server.post('/v1/chat/completions', { ...thinking, thinking_token_budget: -1 });
    expect((await response.json()).error).toMatchObject({ param: 'thinking_token_budget', code: 'sampling_params' });
  });

  test('documents and the last message get to the template', async () => {
    script.answers.push(' cloud', '');
    const asked = { messages: [...messages, { role: 'assistant', content: 'A' }] };
    await server.post('/v1/chat/completions', { ...asked, continue_final_message: true });
    expect(prompt()).toMatch(/<\|assistant\|>A$/);
    script.answers.length = 0;
    script.answers.push('x');
    await server.post('/v1/chat/completions', { messages, documents: [{ text: 'a document' }] });
    expect(prompt()).toMatch(/a document$/);
  });

  test.each([
    [{ chat_template_kwargs: { messages: [] } }, /'messages' has an option of its own/],
    [{ continue_final_message: true, add_generation_prompt: true }, /can't both be true/],
  ])('refuses %j', async (fields, message) => {
    const response = await server.post('/v1/chat/completions', { messages, ...fields });
    expect(response.status).toBe(400);
    expect((await response.json()).error.message).toMatch(message);
  });
});
