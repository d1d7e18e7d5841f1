import Anthropic, {
  AuthenticationError,
  BadRequestError,
  ContentTooLargeError,
  NotFoundError,
  OverloadedError,
  RateLimitError,
} from '@anthropic-ai/sdk';
import { pino } from 'pino';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { QueueFullError, ShutdownError } from '../../src/errors.ts';
import { TOOL_TEMPLATE } from './chat-templates.ts';
import { scriptedForEach } from './scripted-answers.ts';
import { sharedServer } from './test-server.ts';

/** Lines of the server's log. */
const log: Record<string, unknown>[] = [];
const server = await sharedServer({
  logger: pino({ base: null }, { write: (line) => log.push(JSON.parse(line)) }),
  chatTemplate: TOOL_TEMPLATE,
  apiKeys: ['secret'],
  limits: { maxModelLen: 600, maxBodyBytes: 20_000 },
});
const { llm, url } = server;
const client = new Anthropic({ baseURL: url, apiKey: 'secret', maxRetries: 0 });
const { script, scriptedRequest, addRequest } = scriptedForEach(llm);

const model = 'tiny-dts';
const max_tokens = 100;
const messages: Anthropic.MessageParam[] = [{ role: 'user', content: 'Rain in Lyon?' }];
const weather: Anthropic.Tool = {
  name: 'weather',
  description: 'Weather of a city',
  input_schema: { type: 'object', properties: { city: { type: 'string', default: '' } } },
};
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';
const params = { model, max_tokens, messages };
/** The client's types have no temperature any more. */
const GREEDY: object = { temperature: 0 };

/** The text of the last request's prompt. */
const prompt = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });
const tokens = (text: string) => llm.tokenizer?.encode(text, { addSpecialTokens: false }).length;

describe('a message', () => {
  test('is what the model writes', async () => {
    llm.engine.addRequest = addRequest;
    const asked = { ...params, max_tokens: 12, ...GREEDY };
    const message = await client.messages.create({ ...asked, system: [{ type: 'text', text: 'Be brief.' }] });
    const alone = await llm.complete(
      llm.tokenize('<|system|>Be brief.<|user|>Rain in Lyon?<|assistant|>', { addSpecialTokens: false }),
      { maxTokens: 12, temperature: 0 },
    );
    expect(message).toMatchObject({ type: 'message', role: 'assistant', model, stop_reason: 'max_tokens' });
    expect(message.id).toMatch(/^msg_/);
    expect(message.content).toEqual([{ type: 'text', text: alone.text, citations: null }]);
    const promptTokens = alone.promptTokenIds.length;
    expect(message.usage).toMatchObject({ output_tokens: 12, cache_creation_input_tokens: 0 });
    const { input_tokens, cache_read_input_tokens } = message.usage;
    expect(input_tokens + (cache_read_input_tokens ?? 0)).toBe(promptTokens);
    const again = await client.messages.create({ ...asked, system: 'Be brief.' });
    expect(again.usage).toMatchObject({ input_tokens: 0, cache_read_input_tokens: promptTokens });
  });

  test('ends with its turn, at a stop sequence, or where no more fits', async () => {
    script.answers.push('Yes.');
    const message = await client.messages.create(params);
    expect(message).toMatchObject({ stop_reason: 'end_turn', stop_sequence: null, content: [{ text: 'Yes.' }] });
    llm.engine.addRequest = addRequest;
    const stopped = await client.messages.create({ ...params, ...GREEDY, stop_sequences: [';', '<'] });
    expect(stopped.stop_reason).toBe('stop_sequence');
    expect([';', '<']).toContain(stopped.stop_sequence);
    llm.engine.addRequest = scriptedRequest;
    script.answers.push('long '.repeat(700));
    const full = await client.messages.create({ ...params, max_tokens: 20_000 });
    expect(full.stop_reason).toBe('model_context_window_exceeded');
  });

  test('may look at the prompt only', async () => {
    llm.engine.addRequest = addRequest;
    const message = await client.messages.create({ ...params, max_tokens: 0 });
    expect(message).toMatchObject({ content: [], stop_reason: 'max_tokens', usage: { output_tokens: 0 } });
  });

  test('streams as the client reads it', async () => {
    script.answers.push('It rains. A lot.');
    const texts: string[] = [];
    const stream = client.messages.stream(params).on('text', (text) => texts.push(text));
    const final = await stream.finalMessage();
    expect(texts.length).toBeGreaterThan(2);
    expect(texts.join('')).toBe('It rains. A lot.');
    expect(final.content).toEqual([{ type: 'text', text: 'It rains. A lot.', citations: null }]);
    expect(final).toMatchObject({ stop_reason: 'end_turn', usage: { output_tokens: tokens('It rains. A lot.') } });
    expect(final.usage.input_tokens).toBe(script.requests[0].promptTokenIds.length);
  });

  test('is a stream of named events', async () => {
    script.answers.push('Yes.');
    const response = await server.post(
      '/v1/messages',
      { ...params, stream: true },
      { headers: { 'x-api-key': 'secret' } },
    );
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const events = (await response.text()).trim().split('\n\n');
    const names = events.map((event) => /^event: (\w+)\ndata: \{"type":"\1"/.exec(event)?.[1]);
    expect(names[0]).toBe('message_start');
    expect(names.slice(1, 4)).toEqual(['ping', 'content_block_start', 'content_block_delta']);
    expect(names.slice(-3)).toEqual(['content_block_stop', 'message_delta', 'message_stop']);
  });
});

describe('a conversation', () => {
  test('gets to the template with its blocks', async () => {
    script.answers.push('ok');
    await client.messages.create({
      ...params,
      system: 'Be brief.',
      tools: [weather],
      messages: [
        { role: 'user', content: 'Rain' },
        { role: 'user', content: [{ type: 'text', text: 'in Lyon?', cache_control: { type: 'ephemeral' } }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'Hm.', signature: 'x' },
            { type: 'redacted_thinking', data: 'x' },
            { type: 'text', text: 'I look.' },
            { type: 'tool_use', id: 'a', name: 'weather', input: { city: 'Lyon', days: {} } },
            { type: 'tool_use', id: 'b', name: 'weather', input: {} },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: 'rain' }] },
            { type: 'tool_result', tool_use_id: 'b', is_error: true },
            { type: 'text', text: 'And then?' },
          ],
        },
      ],
    });
    expect(prompt()).toBe(
      [
        '<tool>weather {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {"city": {"type": "string", "default": ""}}}}}</tool>',
        '<|system|>Be brief.<|user|>Rain\nin Lyon?',
        '<|assistant|>I look.',
        '<tool_call>{"name": "weather", "arguments": {"city": "Lyon", "days": {}}}</tool_call>',
        '<tool_call>{"name": "weather", "arguments": {}}</tool_call>',
        '<|tool|>rain for a<|tool|> for b<|user|>And then?<|assistant|>',
      ].join(''),
    );
  });

  test('takes what agents send besides', async () => {
    script.answers.push('ok');
    const cache_control = { type: 'ephemeral' };
    const body = {
      ...params,
      max_tokens: 32_000,
      system: [{ type: 'text', text: 'Be brief.', cache_control }],
      messages: [
        ...messages,
        { role: 'system', content: 'It is late.' },
        { role: 'user', content: [{ type: 'text', text: 'And?', cache_control, citations: null }] },
      ],
      tools: [{ ...weather, type: 'custom', strict: null, cache_control, input_examples: [] }],
      tool_choice: { type: 'auto' },
      metadata: { user_id: 'a' },
      context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] },
      output_config: { effort: 'high', format: null },
      thinking: { type: 'adaptive', display: 'summarized' },
      service_tier: 'auto',
      container: null,
      mcp_servers: [],
    };
    const headers = { 'x-api-key': 'secret', 'anthropic-version': '2023-06-01', 'anthropic-beta': 'a,b' };
    const response = await server.post('/v1/messages?beta=true', body, { headers });
    expect(await response.json()).toMatchObject({ type: 'message', stop_reason: 'end_turn' });
    expect(response.headers.get('request-id')).toBe(response.headers.get('x-request-id'));
    expect(prompt()).toMatch(/<\|system\|>It is late\.<\|user\|>And\?<\|assistant\|><think>\nhigh$/);
  });

  test('may end with the beginning of the answer', async () => {
    script.answers.push(' cloudy.');
    const begun: Anthropic.MessageParam[] = [...messages, { role: 'assistant', content: 'It is' }];
    const { content } = await client.messages.create({ ...params, messages: begun });
    expect(content).toMatchObject([{ text: ' cloudy.' }]);
    expect(prompt()).toMatch(/<\|assistant\|>It is$/);
  });

  test('is counted as it is asked', async () => {
    script.answers.push('ok');
    const asked = { model, messages, system: 'Be brief.', tools: [weather] };
    const { input_tokens } = await client.messages.countTokens(asked);
    const { usage } = await client.messages.create({ ...asked, max_tokens });
    expect(input_tokens).toBe(usage.input_tokens);
    // Longer ones than the model takes are counted, too.
    const { input_tokens: many } = await client.messages.countTokens({
      model,
      messages: [{ role: 'user', content: 'a;'.repeat(2000) }],
    });
    expect(many).toBeGreaterThan(600);
  });

  const image: Anthropic.ImageBlockParam = {
    type: 'image',
    source: { type: 'base64', media_type: 'image/png', data: 'AAAA' },
  };
  const use: Anthropic.ContentBlockParam = { type: 'tool_use', id: 'a', name: 'weather', input: {} };
  test.each<[string, object, RegExp]>([
    ['images', { messages: [{ role: 'user', content: [image] }] }, /^messages\.0\.content\.0.*type is 'image'/],
    [
      'images in results',
      { messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: [image] }] }] },
      /'image'; only text/,
    ],
    ['calls of a user', { messages: [{ role: 'user', content: [use] }] }, /'tool_use' belong to the role assistant/],
    ['calls at the end', { messages: [...messages, { role: 'assistant', content: [use] }] }, /calls are at the end/],
    [
      'results of an assistant',
      { messages: [{ role: 'assistant', content: [{ type: 'tool_result', tool_use_id: 'a' }] }] },
      /'tool_result' belong to the role user/,
    ],
    ['tools of a server', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }, /'web_search_20250305'/],
    ['a choice without tools', { tool_choice: { type: 'any' } }, /tool_choice/],
    ['empty stop sequences', { stop_sequences: [''] }, /^stop_sequences has an empty text/],
    ['a temperature below 0', { temperature: -1 }, /^temperature is -1/],
    ['a budget below 0', { thinking: { type: 'enabled', budget_tokens: -1 } }, /^thinking\.budget_tokens/],
    ['unknown fields', { max_token: 1 }, /no field 'max_token'/],
    ['a missing max_tokens', { max_tokens: null }, /^max_tokens/],
  ])('refuses %s', async (_, fields, message) => {
    const refused = client.messages.create({ ...params, ...fields } as Anthropic.MessageCreateParamsNonStreaming);
    await expect(refused).rejects.toThrow(BadRequestError);
    const { error } = (await refused.catch((each) => each)) as { error: Anthropic.ErrorResponse };
    expect(error).toMatchObject({ type: 'error', error: { type: 'invalid_request_error' } });
    expect(error.error.message).toMatch(message);
  });
});

describe('tools', () => {
  test('are called, whole and streamed', async () => {
    const answer = `I look.\n${CALL}\n${CALL}`;
    script.answers.push(answer, answer, answer);
    const whole = await client.messages.create({ ...params, tools: [weather] });
    const called = {
      type: 'tool_use',
      id: expect.stringMatching(/^call_/),
      name: 'weather',
      input: { city: 'Lyon' },
      caller: { type: 'direct' },
    };
    expect(whole.content).toEqual([{ type: 'text', text: 'I look.', citations: null }, called, called]);
    expect(whole.stop_reason).toBe('tool_use');
    for (const eager_input_streaming of [false, true]) {
      const inputs: string[] = [];
      const stream = client.messages.stream({ ...params, tools: [{ ...weather, eager_input_streaming }] });
      const final = await stream.on('inputJson', (json) => inputs.push(json)).finalMessage();
      expect(final.content).toEqual([{ type: 'text', text: 'I look.', citations: null }, called, called]);
      expect(final.stop_reason).toBe('tool_use');
      expect(inputs.length > 4).toBe(eager_input_streaming);
    }
  });

  test('that are called slowly leave no stream still', async () => {
    let time = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (time += 1000));
    onTestFinished(() => clock.mockRestore());
    script.answers.push(CALL);
    const body = { ...params, tools: [weather], stream: true };
    const response = await server.post('/v1/messages', body, { headers: { 'x-api-key': 'secret' } });
    const names = [...(await response.text()).matchAll(/^event: (\w+)/gm)].map(([, name]) => name);
    expect(names.indexOf('ping', 2)).toBeGreaterThan(1);
    expect(names.filter((name) => name === 'ping').length).toBeLessThan(tokens(CALL) ?? 0);
  });

  test('are used round by round', async () => {
    script.answers.push(CALL, 'It rains.');
    const asked: unknown[] = [];
    const runner = client.beta.messages.toolRunner({
      ...params,
      tools: [
        {
          name: 'weather',
          description: 'Weather of a city',
          input_schema: { type: 'object' },
          parse: (input: unknown) => input,
          run: async (input: unknown) => {
            asked.push(input);
            return 'rain';
          },
        },
      ],
    });
    const final = await runner.runUntilDone();
    expect(final.content).toMatchObject([{ type: 'text', text: 'It rains.' }]);
    expect(asked).toEqual([{ city: 'Lyon' }]);
    expect(prompt()).toMatch(/"arguments": \{"city": "Lyon"\}\}<\/tool_call>\n?<\|tool\|>rain for call_\w{24}/);
  });

  test('a malformed call is text, also in a stream', async () => {
    const broken = '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>';
    script.answers.push(broken, broken);
    const whole = await client.messages.create({ ...params, tools: [weather] });
    expect(whole).toMatchObject({ stop_reason: 'end_turn', content: [{ type: 'text', text: broken }] });
    const final = await client.messages.stream({ ...params, tools: [weather] }).finalMessage();
    expect(final.content).toEqual(whole.content);
  });

  test('must be called, one by one, or not at all', async () => {
    script.answers.push(CALL, CALL, `${CALL}${CALL}`, CALL);
    const ask = (tool_choice: Anthropic.ToolChoice) =>
      client.messages.create({ ...params, tools: [weather], tool_choice });
    for (const choice of [{ type: 'any' }, { type: 'tool', name: 'weather' }] as const) {
      expect((await ask(choice)).stop_reason).toBe('tool_use');
      expect(script.requests.at(-1)?.grammar).toBeDefined();
    }
    const { content } = await ask({ type: 'auto', disable_parallel_tool_use: true });
    expect(content).toHaveLength(1);
    expect((await ask({ type: 'none' })).content).toMatchObject([{ type: 'text', text: CALL }]);
    expect(prompt()).not.toContain('<tool>');
  });
});

describe('thoughts', () => {
  test('are blocks of their own, and counted', async () => {
    script.answers.push('It may rain.</think>Yes.', 'It may rain.</think>Yes.');
    const asked = { ...params, thinking: { type: 'enabled', budget_tokens: 1024 } } as const;
    const whole = await client.messages.create(asked);
    expect(prompt()).toMatch(/<think>\n$/);
    expect(whole.content).toEqual([
      { type: 'thinking', thinking: 'It may rain.', signature: expect.stringMatching(/./) },
      { type: 'text', text: 'Yes.', citations: null },
    ]);
    expect(whole.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(2);
    expect(script.requests[0].params.thoughts?.budget?.tokens).toBe(1024);
    const thoughts: string[] = [];
    const stream = client.messages.stream(asked).on('thinking', (thought) => thoughts.push(thought));
    const final = await stream.finalMessage();
    expect(final.content).toMatchObject(whole.content.map(({ type }) => ({ type })));
    expect(final.content[0]).toMatchObject({ thinking: 'It may rain.', signature: expect.stringMatching(/./) });
    expect(thoughts.join('')).toBe('It may rain.');
    expect(final.usage.output_tokens_details).toEqual(whole.usage.output_tokens_details);
  });

  test('may be adaptive, off, or not shown', async () => {
    script.answers.push('Hm.</think>Yes.', 'Yes.', 'Hm.</think>Yes.');
    const ask = (thinking: Anthropic.ThinkingConfigParam) => client.messages.create({ ...params, thinking });
    expect((await ask({ type: 'adaptive' })).content).toHaveLength(2);
    expect((await ask({ type: 'disabled' })).content).toMatchObject([{ text: 'Yes.' }]);
    expect(prompt()).toMatch(/<think><\/think>$/);
    const hidden = await ask({ type: 'adaptive', display: 'omitted' });
    expect(hidden.content).toMatchObject([{ type: 'text' }]);
    expect(hidden.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(0);
  });
});

test('a schema is a form for the engine', async () => {
  script.answers.push('{"city":"Lyon"}');
  const schema = {
    type: 'object',
    properties: { city: { type: 'string' } },
    required: ['city'],
    additionalProperties: false,
  } as const;
  const message = await client.messages.parse({
    ...params,
    output_config: { format: { type: 'json_schema', schema, parse: JSON.parse } },
  });
  expect(message.parsed_output).toEqual({ city: 'Lyon' });
  expect(script.requests[0].grammar).toBeDefined();
});

describe('errors', () => {
  test('have the types that the client knows', async () => {
    const { messages } = client;
    await expect(messages.create({ ...params, model: 'claude' })).rejects.toThrow(NotFoundError);
    const wrong = new Anthropic({ baseURL: url, apiKey: 'wrong', maxRetries: 0 }).messages.create(params);
    await expect(wrong).rejects.toThrow(AuthenticationError);
    await expect(wrong).rejects.toMatchObject({ type: 'authentication_error' });
    const bearer = new Anthropic({ baseURL: url, apiKey: null, authToken: 'secret', maxRetries: 0 });
    expect((await bearer.messages.countTokens({ model, messages: params.messages })).input_tokens).toBeGreaterThan(0);
    const large = messages.create({ ...params, system: 'x'.repeat(30_000) });
    await expect(large).rejects.toThrow(ContentTooLargeError);
    await expect(large).rejects.toMatchObject({ type: 'request_too_large', requestID: expect.any(String) });
    const refuse = (error: Error) => {
      llm.engine.addRequest = () => {
        throw error;
      };
      return messages.create(params);
    };
    const full = refuse(new QueueFullError('The queue is full.'));
    await expect(full).rejects.toThrow(RateLimitError);
    await expect(full).rejects.toMatchObject({ type: 'rate_limit_error' });
    const busy = refuse(new ShutdownError('It ends.'));
    await expect(busy).rejects.toThrow(OverloadedError);
    await expect(busy).rejects.toMatchObject({ status: 529, type: 'overloaded_error' });
    expect(log.at(-1)).toMatchObject({ path: '/v1/messages', status: 529, code: 'shutdown' });
    await expect(refuse(new Error('a bug'))).rejects.toMatchObject({ status: 500, type: 'api_error' });
  });

  test('break off a stream with an event', async () => {
    llm.engine.addRequest = (...args) => {
      const stream = scriptedRequest(...args);
      setTimeout(() => stream.fail(new Error('a bug')), 5);
      return stream;
    };
    script.answers.push('a '.repeat(400));
    const broken = client.messages.stream(params).finalMessage();
    await expect(broken).rejects.toMatchObject({ type: 'api_error' });
    expect(log.at(-1)).toMatchObject({ status: 500, stream: true, code: 'internal' });
  });

  test.each(['/v1/messages/batches', '/v1/messages/count_tokens/x'])('nothing is at %s', async (path) => {
    const response = await server.post(path, {}, { headers: { 'x-api-key': 'secret' } });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
  });
});
