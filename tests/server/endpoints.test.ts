import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { createApp } from '../../src/server/app.ts';
import { expectedCases } from '../cli/tiny-dts.ts';
import { CHAT_TEMPLATE, readEvents, sharedServer, startServer, type TestServer } from './test-server.ts';

const server = await sharedServer({ chatTemplate: CHAT_TEMPLATE, modelNames: ['tiny-dts', 'org/other'] });
const { post, get, llm } = server;
const GREEDY = { temperature: 0, max_tokens: 6 };

// biome-ignore lint/suspicious/noExplicitAny: what a server answers is read as a client without types does
type Json = any;

async function ok(response: Response): Promise<Json> {
  const body = await response.json();
  expect({ status: response.status, error: body.error }).toEqual({ status: 200, error: undefined });
  return body;
}

const complete = async (body: object): Promise<Json> => ok(await post('/v1/completions', { ...GREEDY, ...body }));
const textOf = async (prompt: unknown) => (await complete({ prompt })).choices[0].text;

describe('what needs no model', () => {
  test('health, version, models', async () => {
    expect(await ok(await get('/health'))).toEqual({ status: 'ok' });
    expect(await ok(await get('/version'))).toEqual({ version: packageJson.version });
    const { data } = await ok(await get('/v1/models'));
    expect(data).toMatchObject([
      { id: 'tiny-dts', root: 'tiny-dts', max_model_len: 16384 },
      { id: 'org/other', root: 'tiny-dts' },
    ]);
    expect(await ok(await get('/v1/models/org/other'))).toEqual(data[1]);
    expect(await ok(await get(`/v1/models/${encodeURIComponent('org/other')}`))).toEqual(data[1]);
  });

  test('limits that limit nothing are refused', () => {
    for (const limits of [{ maxBodyBytes: Number.NaN }, { maxModelLen: -1 }, { maxAnswers: 0 }]) {
      const [name] = Object.keys(limits);
      expect(() => createApp({ llm, limits })).toThrow(`limits.${name} is`);
    }
  });

  test('HEAD answers as GET, without a body', async () => {
    const head = await get('/health', { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  test('the OpenAPI document describes every path, and every field that is taken', async () => {
    const document = await ok(await get('/openapi.json'));
    expect(document.openapi).toBe('3.1.0');
    for (const [path, operations] of Object.entries<Json>(document.paths)) {
      for (const method of Object.keys(operations)) {
        const { status } = await get(path.replace('{model}', 'tiny-dts'), { method: method.toUpperCase() });
        expect(status, `${method} ${path}`).toBeOneOf([200, 415]);
      }
    }
    const { schema } = document.paths['/v1/completions'].post.requestBody.content['application/json'];
    expect(schema.required).toEqual(['prompt']);
    expect(schema.additionalProperties).toBe(false);
    expect(schema.properties.prompt.anyOf).toHaveLength(4);
    expect(schema.properties.temperature).toMatchObject({ type: 'number' });
    expect(document.components.schemas.Error.properties.error.required).toContain('message');
    const error = (path: string) => document.paths[path].post.responses.default.$ref;
    expect(error('/v1/chat/completions')).toBe('#/components/responses/Error');
    expect(error('/v1/messages/count_tokens')).toBe('#/components/responses/AnthropicError');
    expect(error('/api/chat')).toBe('#/components/responses/OllamaError');
    expect(document.components.responses.OllamaError).toBeDefined();
  });

  test('request ids are taken over where they are harmless', async () => {
    const id = async (given: string) =>
      (await get('/health', { headers: { 'x-request-id': given } })).headers.get('x-request-id');
    expect(await id('abc-1.2_3')).toBe('abc-1.2_3');
    expect(await id('{"a": 1}')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await id('x'.repeat(65))).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('tokens', () => {
  test('of texts, conversations, and back', async () => {
    const prompt = 'export declare class Größe { 😀 }';
    const { tokens, count, max_model_len, token_strs } = await ok(
      await post('/tokenize', { prompt, return_token_strs: true }),
    );
    expect(tokens).toEqual(llm.tokenizer?.encode(prompt));
    expect({ count, max_model_len, strings: token_strs.length }).toEqual({
      count: tokens.length,
      max_model_len: 16384,
      strings: count,
    });
    expect(await ok(await post('/detokenize', { tokens: tokens.slice(1) }))).toEqual({ prompt });
    const plain = await ok(await post('/tokenize', { prompt, add_special_tokens: false }));
    expect(plain).toMatchObject({ tokens: tokens.slice(1), token_strs: null });
    const messages = [{ role: 'user', content: 'hi' }];
    const chat = await ok(await post('/tokenize', { messages }));
    expect(llm.tokenizer?.decode(chat.tokens)).toBe('<|user|>hi\n<|assistant|>');
    const open = await ok(await post('/tokenize', { messages, add_generation_prompt: false }));
    expect(llm.tokenizer?.decode(open.tokens)).toBe('<|user|>hi\n');
    expect(await ok(await post('/tokenize', { prompt: '', add_special_tokens: false }))).toMatchObject({
      tokens: [],
      count: 0,
    });
  });
});

describe('completions', () => {
  test('take text, texts, ids and lists of ids', async () => {
    const [{ prompt, input_ids }] = await expectedCases();
    const text = await textOf(prompt);
    expect(await textOf([prompt])).toBe(text);
    expect(await textOf(input_ids)).toBe(text);
    expect(await textOf([input_ids])).toBe(text);
    const { choices, usage } = await complete({
      prompt: [input_ids, [1, 2, 3], input_ids],
      n: 2,
      temperature: 0.9,
      seed: 3,
      ignore_eos: true,
    });
    expect(choices.map(({ index }: Json) => index)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(choices[4].text).toBe(choices[0].text);
    expect(choices[5].text).toBe(choices[1].text);
    expect(usage).toMatchObject({ prompt_tokens: 2 * input_ids.length + 3, completion_tokens: 36 });
  });

  test('of several prompts in one stream are those of each alone', async () => {
    const prompts = ['export interface', 'declare function', 'type'];
    const response = await post('/v1/completions', { prompt: prompts, ...GREEDY, max_tokens: 20, stream: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const { events, done } = await readEvents(response);
    expect(done).toBe(true);
    const texts = prompts.map(() => '');
    for (const { choices } of events as Json[]) for (const { index, text } of choices) texts[index] += text;
    for (const [i, prompt] of prompts.entries())
      expect((await complete({ prompt, max_tokens: 20 })).choices[0].text).toBe(texts[i]);
  });

  test('echo puts the prompt in front, whole and in a stream', async () => {
    const prompt = 'export interface User {';
    const { choices } = await complete({ prompt, echo: true });
    expect(choices[0].text).toBe(prompt + (await textOf(prompt)));
    const { events } = await readEvents(
      await post('/v1/completions', { prompt, ...GREEDY, echo: true, stream: true, n: 2 }),
    );
    const texts = ['', ''];
    for (const { choices } of events as Json[]) for (const { index, text } of choices) texts[index] += text;
    expect(texts).toEqual([choices[0].text, choices[0].text]);
  });

  test('echo with logprobs scores the prompt, as evaluations do', async () => {
    const [{ prompt, input_ids }] = await expectedCases();
    const expected = await llm.logprobs(input_ids);
    for (const max_tokens of [0, 2]) {
      const { choices, usage } = await complete({ prompt: input_ids, max_tokens, echo: true, logprobs: 2 });
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0].logprobs;
      expect(usage.completion_tokens).toBe(max_tokens);
      expect(tokens).toHaveLength(input_ids.length + max_tokens);
      expect(token_logprobs[0]).toBeNull();
      expect(top_logprobs[0]).toBeNull();
      expect(token_logprobs.slice(1, input_ids.length)).toEqual([...expected]);
      for (const top of top_logprobs.slice(1)) expect(Object.keys(top).length).toBeOneOf([2, 3]);
      const text: string = choices[0].text;
      for (const [i, token] of tokens.entries()) expect(text.startsWith(token, text_offset[i])).toBe(true);
      expect(text.endsWith(prompt) || max_tokens > 0).toBe(true);
    }
  });

  test('give token ids where they are asked for', async () => {
    const [{ input_ids, greedy }] = await expectedCases();
    const request = { prompt: input_ids, max_tokens: 10, return_token_ids: true };
    const { choices } = await complete(request);
    expect(choices[0]).toMatchObject({ token_ids: greedy.slice(0, 10), prompt_token_ids: input_ids });
    const { events } = await readEvents(await post('/v1/completions', { ...GREEDY, ...request, stream: true }));
    expect(events.flatMap(({ choices }: Json) => choices[0].token_ids)).toEqual(greedy.slice(0, 10));
  });

  test('know the further sampling fields of vLLM', async () => {
    const prompt = 'export interface User {';
    const ids = (await complete({ prompt, max_tokens: 20, return_token_ids: true })).choices[0].token_ids;
    const stopped = await complete({ prompt, max_tokens: 20, stop_token_ids: [ids[4]] });
    expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: ids[4] });
    expect(stopped.usage.completion_tokens).toBe(5);
    const included = await complete({ prompt, max_tokens: 30, stop: [';'], include_stop_str_in_output: true });
    expect(included.choices[0].text).toMatch(/;$/);
    const later = await complete({ prompt, max_tokens: 30, stop: [';'], min_tokens: 12 });
    expect(later.usage.completion_tokens).toBeGreaterThan(12);
    const forbidden = await complete({ prompt, max_tokens: 20, bad_words: [' string'] });
    expect(forbidden.choices[0].text).not.toContain(' string');
    const biased = await complete({ prompt, max_tokens: 5, logit_bias: { 300: 100 }, return_token_ids: true });
    expect(biased.choices[0].token_ids).toEqual([300, 300, 300, 300, 300]);
    const top = await complete({ prompt, max_tokens: 20, temperature: 3, top_k: 1, seed: 1, return_token_ids: true });
    expect(top.choices[0].token_ids).toEqual(ids);
    const least = await complete({ prompt, max_tokens: 20, temperature: 1, min_p: 1, seed: 1, return_token_ids: true });
    expect(least.choices[0].token_ids).toEqual(ids);
    const penalized = await complete({ prompt, max_tokens: 20, repetition_penalty: 5, return_token_ids: true });
    expect(penalized.choices[0].token_ids).not.toEqual(ids);
    await complete({ prompt, ignore_eos: true, skip_special_tokens: false, priority: 0, top_p: 0.5 });
  });

  test('count usage in every event, once, or never', async () => {
    const stream = async (stream_options?: object): Promise<Json[]> =>
      (await readEvents(await post('/v1/completions', { prompt: 'type', ...GREEDY, stream: true, stream_options })))
        .events;
    expect((await stream()).every((event) => !('usage' in event))).toBe(true);
    const once = await stream({ include_usage: true });
    expect(once.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
    expect(once.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 6 } });
    const every = await stream({ include_usage: true, continuous_usage_stats: true });
    expect(every.map(({ usage }) => usage.completion_tokens)).toEqual(expect.arrayContaining([1, 6]));
  });

  test('seeds have 64 bits, and -1 is none', async () => {
    const ids = async (seed: string) => {
      // Quotes and digits in texts are no part of the seed.
      const text = JSON.stringify('"seed": 9007199254740993, \\"1234567890123456789');
      const body = `{"prompt":"type","user":${text},"max_tokens":12,"temperature":3,"return_token_ids":true,"seed":${seed}}`;
      return (await ok(await post('/v1/completions', body))).choices[0].token_ids.join();
    };
    const seeds = ['9007199254740992', '9007199254740993', '9223372036854775807', '-9223372036854775808', '1e18'];
    const answers = await Promise.all(seeds.map(ids));
    expect(new Set(answers).size).toBe(seeds.length);
    expect(await Promise.all(seeds.map(ids))).toEqual(answers);
    expect(new Set([await ids('-1'), await ids('-1'), await ids('-1')]).size).toBe(3);
  });

  test('nulls and fields that say nothing are as if absent', async () => {
    const nothing = {
      stop: null,
      n: null,
      stream: null,
      logit_bias: null,
      suffix: '',
      best_of: 1,
      user: 'me',
      stream_options: {},
      bad_words: [],
      seed: null,
      whatever: null,
      other: { a: [], b: { c: '' } },
    };
    await complete({ prompt: 'type', ...nothing });
    const chats = [
      { tools: [], tool_choice: 'none', response_format: { type: 'text' }, modalities: ['text'], metadata: {} },
      { tools: null, tool_choice: 'auto', functions: [], function_call: 'none', parallel_tool_calls: true },
      { response_format: { type: 'text', json_schema: null }, stream_options: { include_usage: null }, audio: {} },
      { response_format: {}, modalities: [], logprobs: false, top_logprobs: 0, prediction: null, stop: '' },
      {
        store: false,
        service_tier: 'auto',
        reasoning_effort: 'low',
        verbosity: 'low',
        metadata: { a: 'b' },
        echo: false,
      },
      { function_call: { name: null, arguments: '' }, tool_choice: {}, web_search_options: null, model: '' },
    ];
    const messages = [{ role: 'user', content: 'hi' }];
    for (const chat of chats) await ok(await post('/v1/chat/completions', { messages, ...GREEDY, ...chat }));
  });

  describe('messages as clients replay and decorate them', () => {
    const tokens = async (...messages: object[]): Promise<string> =>
      (await ok(await post('/tokenize', { messages }))).tokens.join();
    const user = { role: 'user', content: 'b' };
    const answer = { role: 'assistant', content: 'x' };

    test.each<[string, object, object]>([
      [
        'nulls of a dumped answer',
        { refusal: null, annotations: null, audio: null, function_call: null, tool_calls: null },
        {},
      ],
      [
        'empty lists and objects',
        { tool_calls: [], annotations: [], function_call: { name: null, arguments: '' } },
        {},
      ],
      ['fields of other services', { provider_specific_fields: { refusal: null, citations: [] }, images: [] }, {}],
      ['no reasoning', { reasoning: null, reasoning_content: '', reasoning_details: [], thinking_blocks: null }, {}],
      [
        'what it was called',
        { id: 'msg_1', type: 'message', status: 'completed', index: 0, object: 'chat', created: 1 },
        {},
      ],
      ['marks', { cache_control: { type: 'ephemeral' }, annotations: [{ type: 'url_citation' }], prefix: false }, {}],
      ['a name that is none', {}, { name: null }],
      ['an empty name', {}, { name: '' }],
      ['one part', {}, { content: [{ type: 'text', text: 'b' }] }],
      [
        'a decorated part',
        {},
        { content: [{ type: 'text', text: 'b', cache_control: { type: 'ephemeral' }, annotations: [] }] },
      ],
      ['parts of other APIs', { content: [{ type: 'output_text', text: 'x', annotations: [] }] }, { content: ['b'] }],
      ['a part that is a refusal', { content: [{ type: 'refusal', refusal: 'x' }] }, {}],
      ['a refusal in place of the content', { content: null, refusal: 'x' }, {}],
    ])('%s', async (_, decoratedAnswer, decoratedUser) => {
      const plain = await tokens(user, answer, user);
      expect(await tokens(user, { ...answer, ...decoratedAnswer }, { ...user, ...decoratedUser })).toBe(plain);
    });

    test('contents that are nothing are empty', async () => {
      const empty = await tokens(user, { role: 'assistant', content: '' }, user);
      for (const nothing of [{ content: null }, {}, { content: [] }, { content: [{ type: 'text', text: '' }] }]) {
        expect(await tokens(user, { role: 'assistant', ...nothing }, user)).toBe(empty);
      }
      expect(await tokens({ role: 'user', content: null })).toBe(await tokens({ role: 'user', content: '' }));
    });

    test('parts are joined by line ends', async () => {
      const parts = {
        role: 'user',
        content: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      };
      expect(await tokens(parts)).toBe(await tokens({ role: 'user', content: 'a\nb' }));
    });

    test('a template gets what it may read', async () => {
      const own = await startServer({
        chatTemplate:
          '{% for m in messages %}{{ m.role }}|{{ m.name }}|{{ m.reasoning_content }}|{{ m.tool_call_id }};{% endfor %}',
      });
      const messages = [
        { ...user, name: 'Ann' },
        { ...answer, reasoning: 'hm' },
        { role: 'tool', content: '|', tool_call_id: 'c1' },
      ];
      const { tokens: ids } = await ok(await own.post('/tokenize', { messages }));
      const { prompt } = await ok(await own.post('/detokenize', { tokens: ids }));
      expect(prompt).toBe('user|Ann||;assistant||hm|;tool|||c1;');
      await own.close();
    });
  });
});

describe('a chat template of the request', () => {
  const chat = (own: TestServer, template: string) =>
    own.post('/v1/chat/completions', {
      messages: [{ role: 'user', content: 'Hi' }],
      chat_template: template,
      return_token_ids: true,
      ...GREEDY,
    });

  test('is used where the owner trusts it', async () => {
    const own = await startServer({ chatTemplate: CHAT_TEMPLATE, trustRequestChatTemplate: true });
    const { prompt_token_ids: ids } = await ok(await chat(own, '<{{ messages[0].content }}>'));
    expect(own.llm.tokenizer?.decode(ids)).toBe('<Hi>');
    for (const broken of ['{% if %}', '{{ raise_exception("no") }}', '{% for i in range(99999999) %}{% endfor %}']) {
      const response = await chat(own, broken);
      expect(response.status, broken).toBe(400);
    }
    await own.close();
  });

  test('is refused otherwise', async () => {
    const response = await chat(server, '{{ messages[0].content }}');
    expect(response.status).toBe(400);
    expect((await response.json()).error).toMatchObject({
      param: 'chat_template',
      message: expect.stringContaining('--trust-request-chat-template'),
    });
  });
});

describe('metrics', () => {
  test('are Prometheus text whose numbers add up', async () => {
    const own = await startServer();
    const read = async () => {
      const text = await (await own.get('/metrics')).text();
      const value = (name: string, labels = '') =>
        Number(new RegExp(`^mamba2:${name}\\{[^}]*${labels}[^}]*\\} (\\S+)$`, 'm').exec(text)?.[1]);
      return { text, value };
    };
    const body = { prompt: 'export interface User {', ...GREEDY };
    await own.post('/v1/completions', body);
    await own.post('/v1/completions', body);
    await own.post('/v1/completions', 'no JSON');
    const { text, value } = await read();
    const { prefixCache, completionTokens, steps } = own.llm.engine.stats();
    expect(value('generation_tokens_total')).toBe(completionTokens);
    expect(completionTokens).toBe(12);
    expect(value('engine_steps_total')).toBe(steps);
    expect(value('time_to_first_token_seconds_count')).toBe(2);
    expect(value('inter_token_latency_seconds_count')).toBe(10);
    expect(value('prefix_cache_hits_total')).toBe(prefixCache.hitTokens);
    expect(prefixCache.hitTokens).toBe(5);
    expect(value('state_slots')).toBe(8);
    expect(value('kv_cache_usage_perc')).toBeCloseTo(prefixCache.bytes / prefixCache.maxBytes, 9);
    const { snapshotInterval, maxEntries } = prefixCache;
    expect(snapshotInterval).toBe(256);
    expect(value('cache_config_info', `block_size="256",num_gpu_blocks="${maxEntries}"`)).toBe(1);
    expect(value('state_slots_free')).toBe(8);
    expect(value('num_requests_running')).toBe(0);
    expect(value('request_success_total', 'finished_reason="length"')).toBe(2);
    expect(value('http_requests_total', 'route="/v1/completions",status="200"')).toBe(2);
    expect(value('http_requests_total', 'route="/v1/completions",status="400"')).toBe(1);
    expect(text).toContain('model_name="tiny-dts"');
    // Counters stay what they are when they are read again.
    expect((await read()).value('generation_tokens_total')).toBe(12);
    await own.close();
  });
});

describe('routers', () => {
  test('that know only vLLM find its names', async () => {
    const own = await startServer({ metricsPrefix: 'vllm' });
    const text = await (await own.get('/metrics')).text();
    expect(text).toMatch(/^vllm:num_requests_waiting\{model_name="tiny-dts"\} 0$/m);
    expect(text).not.toContain('mamba2:');
    await expect(startServer({ metricsPrefix: 'a b' })).rejects.toThrow("metricsPrefix is 'a b'");
    await expect(startServer({ modelNames: [' '] })).rejects.toThrow('A name of the model is empty.');
    for (const origin of ['example.org', 'https://example.org:443', 'https://*.example.org', 'http://A.org']) {
      await expect(startServer({ corsOrigins: [origin] }), origin).rejects.toThrow('none that a browser sends');
    }
    await own.close();
  });

  test('get an answer to a health check over HTTP/1.0 without a host', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect({ host: hostname, port: Number(port) });
    socket.write('GET /health HTTP/1.0\r\n\r\n');
    const answer = (await socket.toArray()).join('');
    expect(answer).toMatch(/^HTTP\/1\.[01] 200 /);
  });

  test("of SGLang's family may send their fields with the values that ask for nothing else", async () => {
    const neutral = {
      no_stop_trim: false,
      separate_reasoning: true,
      stream_reasoning: true,
      return_hidden_states: false,
      continue_final_message: false,
      lora_path: null,
      session_params: null,
      regex: null,
      ebnf: null,
    };
    const messages = [{ role: 'user', content: 'Hi' }];
    const chat = (fields: object) => server.post('/v1/chat/completions', { messages, max_tokens: 1, ...fields });
    expect((await chat(neutral)).status).toBe(200);
    for (const fields of [{ separate_reasoning: false }, { no_stop_trim: true }, { regex: 'a' }]) {
      const response = await chat(fields);
      expect(response.status).toBe(400);
      expect((await response.json()).error.message).toContain(Object.keys(fields)[0]);
    }
  });
});
