import type OpenAI from 'openai';
import { BadRequestError, NotFoundError } from 'openai';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import { accumulateResponse } from 'openai/lib/responses/ResponseAccumulator';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { TOOL_TEMPLATE } from './chat-templates.ts';
import { scripted } from './scripted-answers.ts';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

type Event = OpenAI.Responses.ResponseStreamEvent;

const model = 'tiny-dts';
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';
const weather: OpenAI.Responses.FunctionTool = {
  type: 'function',
  name: 'weather',
  description: 'Weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string', default: '' } } },
  strict: null,
};
/** A value without what differs between two responses. */
function plain(value: unknown): unknown {
  const own = new Set(['id', 'item_id', 'call_id', 'created_at', 'completed_at', 'output_text']);
  return JSON.parse(JSON.stringify(value, (name, member) => (own.has(name) ? undefined : member)));
}

describe('what the model says', async () => {
  const server = await sharedServer({ chatTemplate: TOOL_TEMPLATE, limits: { maxModelLen: 2048 } });
  const { client, llm } = server;
  const script = scripted(llm);
  afterEach(() => {
    const left = script.answers.splice(0);
    expect(left).toEqual([]);
  });
  const prompt = () =>
    llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });
  const asked = { model, input: 'Rain in Lyon?' };

  async function streamed(params: object): Promise<Event[]> {
    const events: Event[] = [];
    for await (const event of await client.responses.create({ ...asked, ...params, stream: true })) events.push(event);
    expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, i) => i));
    return events;
  }

  test('a text comes whole', async () => {
    script.answers.push('It rains.');
    const response = await client.responses.create({
      ...asked,
      instructions: 'Be brief.',
      metadata: { a: '' },
      store: true,
      max_output_tokens: 50,
    });
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_/),
      object: 'response',
      status: 'completed',
      output_text: 'It rains.',
      output: [
        {
          type: 'message',
          id: expect.stringMatching(/^msg_/),
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'It rains.', annotations: [] }],
        },
      ],
      store: false,
      metadata: { a: '' },
      instructions: 'Be brief.',
      max_output_tokens: 50,
      error: null,
      incomplete_details: null,
      previous_response_id: null,
    });
    const { usage } = response;
    expect(usage?.total_tokens).toBe((usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0));
    expect(usage?.output_tokens_details).toEqual({ reasoning_tokens: 0 });
    expect(prompt()).toBe('<|system|>Be brief.<|user|>Rain in Lyon?<|assistant|>');
  });

  test('thoughts, text and calls come as items, whole and in events that add up to the same', async () => {
    const answer = `<think>\nHm.\n</think>\nI look. ${CALL}\n${CALL}\nDone.`;
    for (const reasoning of [undefined, { effort: 'low', summary: 'auto' }] as const) {
      script.answers.push(answer, answer, answer);
      const params = { tools: [weather], ...(reasoning && { reasoning }) };
      const whole = await client.responses.create({ ...asked, ...params });
      expect(whole.output.map(({ type }) => type)).toEqual([
        'reasoning',
        'message',
        'function_call',
        'function_call',
        'message',
      ]);
      expect(whole.output[0]).toMatchObject(
        reasoning
          ? { summary: [{ type: 'summary_text', text: 'Hm.' }] }
          : { summary: [], content: [{ type: 'reasoning_text', text: 'Hm.' }] },
      );
      expect(whole.output[2]).toMatchObject({ name: 'weather', arguments: '{"city": "Lyon"}', status: 'completed' });
      expect(whole.usage?.output_tokens_details.reasoning_tokens).toBeGreaterThan(0);
      const events = await streamed(params);
      const last = events.at(-1);
      if (last?.type !== 'response.completed') throw new Error(`The last event is ${last?.type}.`);
      expect(plain(last.response)).toEqual(plain(whole));
      // The client's own sum of the events before the last.
      const sum = events
        .slice(1, -1)
        .reduce((sum, event) => accumulateResponse(event, sum), accumulateResponse(events[0], undefined));
      expect(plain(sum.output)).toEqual(plain(whole.output));
      expect((await client.responses.stream({ ...asked, ...params }).finalResponse()).output_text).toBe('I look.Done.');
      const kinds = events.map(({ type }) => type.replace(/^response\./, ''));
      const thought = reasoning ? 'reasoning_summary' : 'reasoning';
      const part = reasoning ? 'reasoning_summary_part' : 'content_part';
      expect(kinds.filter((kind, i) => kind !== kinds[i - 1])).toEqual([
        'created',
        'in_progress',
        'output_item.added',
        `${part}.added`,
        `${thought}_text.delta`,
        `${thought}_text.done`,
        `${part}.done`,
        'output_item.done',
        'output_item.added',
        'content_part.added',
        'output_text.delta',
        'output_text.done',
        'content_part.done',
        'output_item.done',
        ...Array.from({ length: 2 }, () => [
          'output_item.added',
          'function_call_arguments.delta',
          'function_call_arguments.done',
          'output_item.done',
        ]).flat(),
        'output_item.added',
        'content_part.added',
        'output_text.delta',
        'output_text.done',
        'content_part.done',
        'output_item.done',
        'completed',
      ]);
    }
  });

  test('events of each item add up to it, wherever the answer is cut off', async () => {
    const answer = `<think>Hm.</think>I look. ${CALL}`;
    for (let max = 1; max < 40; max += 4) {
      script.answers.push(answer);
      const events = await streamed({ tools: [weather], max_output_tokens: max });
      const last = events.at(-1);
      if (last?.type !== 'response.incomplete' && last?.type !== 'response.completed')
        throw new Error('It has no end.');
      expect(last.response.incomplete_details).toEqual(
        last.type === 'response.incomplete' ? { reason: 'max_output_tokens' } : null,
      );
      const done = events.filter((event) => event.type === 'response.output_item.done');
      const added = events.filter((event) => event.type === 'response.output_item.added');
      expect(added.map(({ item }) => item.id)).toEqual(done.map(({ item }) => item.id));
      const items = done
        .map(({ item }) => item)
        .filter(({ id }) => last.response.output.some((item) => item.id === id));
      expect(items).toEqual(last.response.output);
      for (const { item, output_index: index } of done) {
        const deltas = events.flatMap((event) =>
          'delta' in event && 'output_index' in event && event.output_index === index ? [event.delta] : [],
        );
        const text =
          item.type === 'function_call'
            ? item.arguments
            : item.type === 'message' || item.type === 'reasoning'
              ? (item.content?.map((part) => ('text' in part ? part.text : '')).join('') ?? '')
              : undefined;
        expect(deltas.join('')).toBe(text);
      }
    }
  });

  test('a malformed call is text, and no call of the response', async () => {
    const broken = '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>';
    script.answers.push(broken, broken);
    const whole = await client.responses.create({ ...asked, tools: [weather] });
    expect(whole.output.map(({ type }) => type)).toEqual(['message']);
    expect(whole.output_text).toBe(broken);
    const events = await streamed({ tools: [weather] });
    const last = events.at(-1);
    expect(last?.type === 'response.completed' && last.response.output.map(({ type }) => type)).toEqual(['message']);
    const done = events.flatMap((event) => (event.type === 'response.output_item.done' ? [event.item] : []));
    expect(done.map((item) => 'status' in item && item.status)).toEqual(['incomplete', 'completed']);
  });

  test('an agent goes round with what it was given', async () => {
    script.answers.push(`<think>Hm.</think>I look. ${CALL}`, 'It rains.');
    const input: OpenAI.Responses.ResponseInput = [{ role: 'user', content: 'Rain in Lyon?' }];
    const tools = [zodResponsesFunction({ name: 'weather', parameters: z.object({ city: z.string() }) })];
    const first = await client.responses.parse({ model, input, tools });
    input.push(...(first.output as OpenAI.Responses.ResponseInput));
    for (const item of first.output) {
      if (item.type !== 'function_call') continue;
      expect(item.parsed_arguments).toEqual({ city: 'Lyon' });
      input.push({ type: 'function_call_output', call_id: item.call_id, output: 'rain' });
    }
    const second = await client.responses.create({ model, input, tools });
    expect(second.output_text).toBe('It rains.');
    expect(script.requests.at(-2)?.grammar).toBeDefined();
    expect(prompt()).toMatch(
      /<\|user\|>Rain in Lyon\?<\|assistant\|>I look\.<tool_call>\{"name": "weather", "arguments": \{"city": "Lyon"\}\}<\/tool_call><\|tool\|>rain for call_\w{24}<\|assistant\|>$/,
    );
  });

  test('items of a conversation become its messages', async () => {
    script.answers.push('ok');
    await client.responses.create({
      model,
      instructions: 'A',
      input: [
        { role: 'developer', content: [{ type: 'input_text', text: 'B' }] },
        { type: 'message', role: 'user', content: 'C' },
        { type: 'reasoning', id: 'rs_1', summary: [{ type: 'summary_text', text: 'hidden' }] },
        { type: 'function_call', call_id: '1', name: 'f', arguments: '{}' },
        { type: 'function_call', call_id: '2', name: 'g', arguments: '' },
        { type: 'function_call_output', call_id: '1', output: '' },
        { type: 'function_call_output', call_id: '2', output: [{ type: 'input_text', text: 'D' }] },
        {
          type: 'message',
          id: 'msg_1',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: 'E', annotations: [] }],
        },
        { role: 'user', content: 'F' },
      ],
    });
    expect(prompt()).toBe(
      [
        '<|system|>A\nB',
        '<|user|>C',
        '<|assistant|><tool_call>{"name": "f", "arguments": {}}</tool_call><tool_call>{"name": "g", "arguments": {}}</tool_call>',
        '<|tool|> for 1',
        '<|tool|>D for 2',
        '<|assistant|>E',
        '<|user|>F',
        '<|assistant|>',
      ].join(''),
    );
  });

  test('a choice of tools', async () => {
    script.answers.push('ok', CALL, CALL);
    const other = { ...weather, name: 'time' };
    const tools = [weather, other];
    await client.responses.create({ ...asked, tools, tool_choice: 'none' });
    expect(prompt()).not.toContain('<tool>');
    await client.responses.create({ ...asked, tools, tool_choice: { type: 'function', name: 'weather' } });
    expect(script.requests.at(-1)?.grammar).toBeDefined();
    const allowed = {
      type: 'allowed_tools' as const,
      mode: 'auto' as const,
      tools: [{ type: 'function', name: 'weather' }],
    };
    const response = await client.responses.create({ ...asked, tools, tool_choice: allowed });
    expect(prompt()).toContain('<tool>weather');
    expect(prompt()).not.toContain('<tool>time');
    expect(response).toMatchObject({ tool_choice: allowed, tools });
  });

  test('the oldest turns are left out where that is allowed', async () => {
    script.answers.push('ok', 'ok');
    const long = 'export '.repeat(60);
    const turn = (text: string) => [
      { role: 'user' as const, content: text },
      { role: 'assistant' as const, content: long },
    ];
    const input = [
      { role: 'system' as const, content: 'S' },
      ...Array.from({ length: 40 }, (_, i) => turn(`question ${i}`)).flat(),
      { role: 'user' as const, content: 'last' },
    ];
    const tooLong = client.responses.create({ model, input });
    await expect(tooLong).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
    await client.responses.create({ model, input, truncation: 'auto', max_output_tokens: 100 });
    const { length } = script.requests.at(-1)?.promptTokenIds ?? [];
    expect(length).toBeLessThanOrEqual(2048 - 100);
    expect(length).toBeGreaterThan(2048 - 100 - 2 * (llm.tokenize(long).length + 20));
    expect(prompt()).toMatch(/^<\|system\|>S<\|user\|>question \d+</);
    expect(prompt()).toMatch(/<\|user\|>last<\|assistant\|>$/);
    // More text than is made into tokens.
    script.answers.push('ok');
    const far = [...Array.from({ length: 200 }, () => turn('far')).flat(), ...input.slice(1)];
    await client.responses.create({ model, input: far, truncation: 'auto', max_output_tokens: 100 });
    expect(script.requests.at(-1)?.promptTokenIds.length).toBeGreaterThan(
      2048 - 100 - 2 * (llm.tokenize(long).length + 20),
    );
    await client.responses.create({ model, input: 'short', truncation: 'auto' });
    const single = client.responses.create({ model, input: long.repeat(40), truncation: 'auto' });
    await expect(single).rejects.toMatchObject({ status: 400 });
  });

  test('the tokens of an input are counted', async () => {
    script.answers.push('ok');
    const { usage } = await client.responses.create({ ...asked, instructions: 'A' });
    const counted = await client.responses.inputTokens.count({ ...asked, instructions: 'A' });
    expect(counted).toEqual({ object: 'response.input_tokens', input_tokens: usage?.input_tokens });
  });

  const input = 'a';
  test.each<[string, object, string, RegExp]>([
    ['an earlier response', { input, previous_response_id: 'resp_1' }, 'previous_response_id', /not stored/],
    ['a stored conversation', { input, conversation: 'conv_1' }, 'conversation', /not stored/],
    ['a background', { input, background: true }, 'background', /not stored/],
    ['messages', { messages: [] }, 'messages', /chat\/completions/],
    ['no input', {}, 'input', /input/],
    ['a tool of the service', { input, tools: [{ type: 'web_search' }] }, 'tools.0', /'web_search', which is not/],
    ['a custom tool', { input, tools: [{ type: 'custom', name: 'a' }] }, 'tools.0', /'custom'/],
    ['a choice of such', { input, tool_choice: { type: 'file_search' } }, 'tool_choice', /'file_search'/],
    ['an unknown choice', { input, tools: [weather], tool_choice: 'any' }, 'tool_choice', /is "any"/],
    [
      'an image',
      { input: [{ role: 'user', content: [{ type: 'input_image' }] }] },
      'input.0.content.0.type',
      /'input_image'/,
    ],
    ['an item of a service', { input: [{ type: 'web_search_call', id: 'a' }] }, 'input.0.type', /'web_search_call'/],
    ['a reference', { input: [{ type: 'item_reference', id: 'a' }] }, 'input.0.type', /'item_reference'/],
    ['another format', { input, text: { format: { type: 'xml' } } }, 'text.format', /'text.format' has the type "xml"/],
    ['no tokens', { input, max_output_tokens: 0 }, 'max_output_tokens', />=1/],
    ['too many tokens', { input, max_output_tokens: 1e9 }, 'undefined', /tokens of prompt and answer/],
    ['a wrong number', { input, temperature: -1 }, 'temperature', /^temperature is -1/],
    ['too many logprobs', { input, top_logprobs: 21 }, 'top_logprobs', /^top_logprobs is 21/],
    ['a field that is misspelt', { input, instruction: 'a' }, 'instruction', /Did you mean 'instructions'/],
  ])('refuses %s', async (_, body, param, message) => {
    const response = await server.post('/v1/responses', body);
    expect(response.status).toBe(400);
    const { error } = await response.json();
    expect(error.message).toMatch(message);
    expect(String(error.param ?? undefined)).toBe(param);
  });

  test('a vector for a text is refused with the reason', async () => {
    await expect(client.embeddings.create({ model, input: 'a' })).rejects.toMatchObject({
      status: 404,
      code: 'not_supported',
      message: expect.stringMatching(/no embeddings: the models/),
    });
  });

  test('is not stored, and errors are errors of the client', async () => {
    await expect(client.responses.retrieve('resp_1')).rejects.toThrow(/not stored/);
    await expect(client.responses.delete('resp_1')).rejects.toThrow(NotFoundError);
    await expect(client.responses.create({ ...asked, temperature: -1 })).rejects.toThrow(BadRequestError);
    await expect(client.responses.create({ ...asked, model: 'other' })).rejects.toThrow(NotFoundError);
  });
});

describe('what the model computes', async () => {
  const { client, llm } = await sharedServer({ chatTemplate: CHAT_TEMPLATE });
  const input = 'Name a user.';

  test('is what chats get', async () => {
    const messages = [{ role: 'user' as const, content: input }];
    const { choices } = await client.chat.completions.create({ model, messages, max_tokens: 20, temperature: 0 });
    const asked = { model, input, max_output_tokens: 20, temperature: 0 };
    expect((await client.responses.create(asked)).output_text).toBe(choices[0].message.content);
    const stream = client.responses.stream(asked);
    expect((await stream.finalResponse()).output_text).toBe(choices[0].message.content);
  });

  test('has the form that was asked for', async () => {
    const User = z.object({ admin: z.boolean(), level: z.union([z.literal(1), z.literal(2)]) });
    const asked = { model, input, max_output_tokens: 100, text: { format: zodTextFormat(User, 'user') } };
    const { output_parsed: user } = await client.responses.parse(asked);
    expect(User.parse(user)).toEqual(user);
    const final = await client.responses.stream(asked).finalResponse();
    expect(User.parse(final.output_parsed)).toEqual(final.output_parsed);
  });

  test('comes with probabilities', async () => {
    const asked = {
      model,
      input,
      max_output_tokens: 8,
      temperature: 0,
      top_logprobs: 2,
      include: ['message.output_text.logprobs' as const],
    };
    const { output, output_text: text } = await client.responses.create(asked);
    const part = output[0].type === 'message' ? output[0].content[0] : undefined;
    const logprobs = part?.type === 'output_text' ? (part.logprobs ?? []) : [];
    expect(logprobs).toHaveLength(8);
    expect(logprobs.map(({ token }) => token).join('')).toBe(text);
    expect(logprobs.every(({ top_logprobs: top }) => top.length === 2)).toBe(true);
    const streamed: unknown[] = [];
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      if (event.type === 'response.output_text.delta') streamed.push(...event.logprobs);
    }
    expect(streamed).toEqual(logprobs);
  });

  test('fails as a response where it fails while it is sent', async () => {
    const { addRequest } = llm.engine;
    llm.engine.addRequest = (request, signal) => {
      const stream = addRequest.call(llm.engine, request, signal);
      let count = 0;
      const next = stream.next.bind(stream);
      stream.next = () => (count++ < 2 ? next() : Promise.reject(new Error('A secret of the server.')));
      return stream;
    };
    const events: Event[] = [];
    const asked = { model, input, max_output_tokens: 50, stream: true as const };
    for await (const event of await client.responses.create(asked)) events.push(event);
    llm.engine.addRequest = addRequest;
    const last = events.at(-1);
    expect(last).toMatchObject({
      type: 'response.failed',
      response: {
        status: 'failed',
        error: { code: 'server_error', message: expect.stringMatching(/its log says why/) },
      },
    });
    expect(JSON.stringify(events)).not.toContain('secret');
  });
});
