import { type ChatResponse, type GenerateResponse, Ollama, type Options } from 'ollama';
import { describe, expect, test } from 'vitest';
import { QueueFullError } from '../../src/errors.ts';
import { TOOL_TEMPLATE } from './chat-templates.ts';
import { scriptedForEach } from './scripted-answers.ts';
import { sharedServer } from './test-server.ts';

const limits = { maxModelLen: 600, maxBodyBytes: 20_000 };
const server = await sharedServer({ chatTemplate: TOOL_TEMPLATE, modelNames: ['granite', 'other:7b'], limits });
const { llm, url } = server;
const client = new Ollama({ host: url });
const { script, scriptedRequest, addRequest } = scriptedForEach(llm);

const model = 'granite:latest';
const messages = [{ role: 'user', content: 'Rain in Lyon?' }];
const parameters = { type: 'object', properties: { city: { type: 'string' } } };
const tools = [{ type: 'function', function: { name: 'weather', description: 'Weather of a city', parameters } }];
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Lyon"}}\n</tool_call>';

/** The text of the last request's prompt. */
const prompt = () => llm.tokenizer?.decode(script.requests.at(-1)?.promptTokenIds ?? [], { skipSpecialTokens: false });

async function collected<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const each of stream) all.push(each);
  return all;
}

describe('/api/chat', () => {
  test('answers whole', async () => {
    script.answers.push('Yes.');
    const { created_at, ...answer } = await client.chat({ model, messages });
    expect(Date.parse(String(created_at))).toBeGreaterThan(0);
    expect(answer).toEqual({
      model,
      message: { role: 'assistant', content: 'Yes.' },
      done: true,
      done_reason: 'stop',
      total_duration: expect.any(Number),
      load_duration: 0,
      prompt_eval_count: script.requests[0].promptTokenIds.length,
      prompt_eval_duration: expect.any(Number),
      eval_count: expect.any(Number),
      eval_duration: expect.any(Number),
    });
    const { total_duration, prompt_eval_duration, eval_duration } = answer;
    expect(Number.isInteger(total_duration)).toBe(true);
    expect(total_duration).toBeGreaterThanOrEqual(prompt_eval_duration + eval_duration);
  });

  test('streams objects line by line, unless it is told not to', async () => {
    script.answers.push('It rains.', 'It rains.');
    const parts = await collected(await client.chat({ model, messages, stream: true }));
    expect(parts.length).toBeGreaterThan(2);
    expect(parts.map(({ message }) => message.content).join('')).toBe('It rains.');
    expect(parts.map(({ done }) => done)).toEqual([...parts.slice(1).map(() => false), true]);
    expect(parts.at(-1)).toMatchObject({ message: { content: '' }, done_reason: 'stop', load_duration: 0 });
    const response = await server.post('/api/chat', { model, messages });
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const lines = (await response.text()).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).done)).toEqual(parts.map(({ done }) => done));
  });

  test('takes options, and ends where they say', async () => {
    llm.engine.addRequest = addRequest;
    const options: Partial<Options> = {
      temperature: 0,
      num_predict: 7,
      num_ctx: 4096,
      stop: ['zzz'],
      repeat_penalty: 1.2,
    };
    const { message, ...cut } = await client.chat({ model, messages, options });
    expect(cut).toMatchObject({ done_reason: 'length', eval_count: 7 });
    const alone = await llm.complete(llm.tokenize('<|user|>Rain in Lyon?<|assistant|>', { addSpecialTokens: false }), {
      maxTokens: 7,
      temperature: 0,
      repetitionPenalty: 1.2,
    });
    expect(message.content).toBe(alone.text);
    llm.engine.addRequest = scriptedRequest;
    script.answers.push('', '');
    for (const num_predict of [-1, 100_000]) {
      await client.chat({
        model,
        messages,
        options: { num_predict, top_k: 5, top_p: 0.5, seed: 3, presence_penalty: 1 },
      });
      const { promptTokenIds, params } = script.requests.at(-1) ?? {};
      expect(params).toMatchObject({
        topK: 5,
        topP: 0.5,
        presencePenalty: 1,
        maxTokens: 600 - (promptTokenIds?.length ?? 0),
      });
    }
  });

  test('gives logprobs', async () => {
    llm.engine.addRequest = addRequest;
    const asked = { model, messages, logprobs: true, top_logprobs: 2, options: { temperature: 0, num_predict: 5 } };
    const whole = await client.chat(asked);
    expect(whole.logprobs).toHaveLength(5);
    expect(whole.logprobs?.[0].top_logprobs).toHaveLength(2);
    expect(whole.logprobs?.map(({ token }) => token).join('')).toBe(whole.message.content);
    const parts = await collected(await client.chat({ ...asked, stream: true }));
    expect(parts.flatMap(({ logprobs = [] }) => logprobs)).toEqual(whole.logprobs);
  });

  test('gives calls when they are whole, and takes their results', async () => {
    const answer = `I look. ${CALL}\n${CALL}`;
    script.answers.push(answer, answer, 'It rains.');
    const call = { id: expect.any(String), function: { index: 0, name: 'weather', arguments: { city: 'Lyon' } } };
    const calls = [call, { ...call, function: { ...call.function, index: 1 } }];
    const whole = await client.chat({ model, messages, tools });
    expect(whole.message).toEqual({ role: 'assistant', content: 'I look.', tool_calls: calls });
    expect(whole.done_reason).toBe('stop');
    const parts = await collected(await client.chat({ model, messages, tools, stream: true }));
    expect(parts.flatMap(({ message }) => message.tool_calls ?? [])).toEqual(calls);
    expect(parts.map(({ message }) => message.content).join('')).toBe('I look.');
    const results = [{ role: 'tool', content: 'rain', tool_name: 'weather' }];
    await client.chat({ model, messages: [...messages, whole.message, ...results], tools });
    expect(prompt()).toContain(
      '{"name": "weather", "arguments": {"city": "Lyon"}}</tool_call><|tool|>rain<|assistant|>',
    );
  });

  test('a malformed call is text', async () => {
    const broken = '<tool_call>{"name": "weather", "arguments": {"city": Lyon}}</tool_call>';
    script.answers.push(broken, broken);
    expect((await client.chat({ model, messages, tools })).message).toEqual({ role: 'assistant', content: broken });
    const parts = await collected(await client.chat({ model, messages, tools, stream: true }));
    expect(parts.map(({ message }) => message.content).join('')).toBe(broken);
    expect(parts.some(({ message }) => message.tool_calls)).toBe(false);
  });

  test('splits thoughts off', async () => {
    script.answers.push('Hm.</think>Yes.', 'Hm.</think>Yes.', 'Yes.', 'Hm.</think>Yes.');
    const { message } = await client.chat({ model, messages, think: true });
    expect(message).toEqual({ role: 'assistant', content: 'Yes.', thinking: 'Hm.' });
    const parts = await collected(await client.chat({ model, messages, think: true, stream: true }));
    expect(parts.map((part) => part.message.thinking ?? '').join('')).toBe('Hm.');
    await client.chat({ model, messages, think: false });
    expect(prompt()).toMatch(/<think><\/think>$/);
    await client.chat({ model, messages: [...messages, message, ...messages], think: 'low' });
    expect(prompt()).toMatch(/<think>\nlow$/);
  });

  test('gives the answer a form', async () => {
    script.answers.push('{}', '{}', '{}');
    for (const format of ['json', parameters]) {
      await client.chat({ model, messages, format });
      expect(script.requests.at(-1)?.grammar).toBeDefined();
    }
    await client.chat({ model, messages, format: '' });
    expect(script.requests.at(-1)?.grammar).toBeUndefined();
  });

  test('takes what clients send for nothing', async () => {
    script.answers.push('Yes.');
    const empty = { images: null, tool_calls: [], thinking: '', tool_name: null };
    const calls = [{ function: { index: 0, name: 'weather', arguments: {} } }];
    const asked = [
      { role: 'user', content: 'Rain?', ...empty },
      { role: 'assistant', content: null, tool_calls: calls },
      { role: 'tool', content: null, tool_name: 'weather' },
    ];
    const fields = {
      format: '',
      tools: [],
      think: null,
      logprobs: false,
      top_logprobs: 0,
      options: { stop: [], seed: null },
    };
    const response = await server.post('/api/chat', { model, messages: asked, ...fields, stream: false });
    expect((await response.json()).message).toEqual({ role: 'assistant', content: 'Yes.' });
    expect(prompt()).toContain('{"name": "weather", "arguments": {}}</tool_call><|tool|><|assistant|>');
  });

  test('continues an answer that has begun', async () => {
    script.answers.push(' cloudy.');
    await client.chat({ model, messages: [...messages, { role: 'assistant', content: 'It is' }] });
    expect(prompt()).toMatch(/<\|assistant\|>It is$/);
  });

  test('an abort ends the generation', async () => {
    llm.engine.addRequest = addRequest;
    const aborting = new Ollama({ host: url });
    const stream = await aborting.chat({ model, messages, stream: true, options: { num_predict: 500, seed: 1 } });
    await expect(
      (async () => {
        for await (const _ of stream) aborting.abort();
      })(),
    ).rejects.toThrow();
    await expect.poll(() => llm.engine.stats().runningRequests).toBe(0);
  });
});

describe('/api/generate', () => {
  test('answers a prompt through the chat template', async () => {
    script.answers.push('Yes.', 'Hm.</think>Yes.');
    const whole = await client.generate({ model, prompt: 'Rain?', system: 'Be brief.' });
    expect(whole).toMatchObject({ model, response: 'Yes.', done: true, done_reason: 'stop' });
    expect(prompt()).toBe('<|system|>Be brief.<|user|>Rain?<|assistant|>');
    const parts = await collected(await client.generate({ model, prompt: 'Rain?', think: true, stream: true }));
    const joined = (name: 'response' | 'thinking') => parts.map((part) => part[name] ?? '').join('');
    expect([joined('thinking'), joined('response')]).toEqual(['Hm.', 'Yes.']);
  });

  test('continues a raw text', async () => {
    llm.engine.addRequest = addRequest;
    const options = { num_predict: 8, temperature: 0 };
    const { response } = await client.generate({ model, prompt: 'export interface User {', raw: true, options });
    const alone = await llm.complete('export interface User {', { maxTokens: 8, temperature: 0 });
    expect(response).toBe(alone.text);
  });
});

test.each([
  ['chat', { messages: [] }, { message: { role: 'assistant', content: '' } }],
  ['generate', { prompt: '' }, { response: '' }],
  ['generate', {}, { response: '' }],
])('%s without a question says that the model is loaded', async (path, body, expected) => {
  const load = await server.post(`/api/${path}`, { model, ...body, keep_alive: '5m' });
  expect(await load.json()).toEqual({
    model,
    created_at: expect.any(String),
    done: true,
    done_reason: 'load',
    ...expected,
  });
  const unload = await server.post(`/api/${path}`, { model, ...body, keep_alive: 0 });
  expect(await unload.json()).toMatchObject({ done_reason: 'unload' });
});

describe('the model', () => {
  test('is listed under its names', async () => {
    const { models } = await client.list();
    expect(models.map(({ name }) => name)).toEqual(['granite:latest', 'other:7b']);
    expect(models[0]).toMatchObject({ model: 'granite:latest', details: { format: 'safetensors' } });
    expect(models[0].digest).toMatch(/^[0-9a-f]{64}$/);
    const { models: loaded } = await client.ps();
    expect(loaded[0]).toMatchObject({ name: 'granite:latest', context_length: 600 });
    expect(Date.parse(String(loaded[0].expires_at))).toBeGreaterThan(Date.now());
  });

  test('says what it can', async () => {
    const shown = await client.show({ model });
    expect(shown.capabilities).toEqual(['completion', 'tools', 'thinking']);
    const facts = shown.model_info as unknown as Record<string, unknown>;
    const architecture = facts['general.architecture'];
    expect(architecture).toBe('Mamba2ForCausalLM');
    expect(facts[`${architecture}.context_length`]).toBe(600);
    expect(shown.template).toBe(TOOL_TEMPLATE);
    const byOldName = await server.post('/api/show', { name: 'granite' });
    expect(byOldName.status).toBe(200);
  });

  test('has an API of a version that clients take', async () => {
    // Visual Studio Code wants 0.6.4.
    const { version } = await client.version();
    expect(version.localeCompare('0.6.4', 'en', { numeric: true })).toBeGreaterThan(0);
  });

  test('is known to the other APIs by the same name', async () => {
    script.answers.push('Yes.');
    const { choices } = await server.client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'Rain?' }],
    });
    expect(choices[0].message.content).toBe('Yes.');
  });
});

describe('errors', () => {
  test.each<[string, object, number, RegExp]>([
    ['chat', { model: 'llama3' }, 404, /There is no model 'llama3'/],
    ['chat', { messages: [{ ...messages[0], images: ['AAAA'] }] }, 400, /'messages\.0\.images' is not supported/],
    ['chat', { options: { temperature: -1 } }, 400, /^options\.temperature is -1/],
    ['chat', { options: { repeat_penalty: 0 } }, 400, /^options\.repeat_penalty is 0/],
    ['chat', { options: { repeat_penalty: 1.1, repeat_last_n: 64 } }, 400, /options\.repeat_last_n is 64; expected -1/],
    ['chat', { options: { mirostat: 2 } }, 400, /options\.mirostat: is not supported here; expected 0/],
    ['chat', { options: { temprature: 1 } }, 400, /Unrecognized key: "temprature"/],
    ['chat', { format: 'yaml' }, 400, /format: expected 'json' or a JSON Schema/],
    ['chat', { top_logprobs: 3 }, 400, /needs 'logprobs'/],
    ['chat', { tools: [{ type: 'web' }] }, 400, /tools has an entry 0/],
    ['generate', { prompt: 'a', suffix: 'b' }, 400, /'suffix' is not supported/],
    ['generate', { prompt: 'a', context: [1] }, 400, /'context' is not supported/],
    ['generate', { prompt: 'a', images: ['AAAA'] }, 400, /'images' is not supported/],
    ['generate', { prompt: 'a', raw: true, system: 'b' }, 400, /'system' can't be given/],
    ['embed', { input: 'a' }, 404, /There is nothing at POST \/api\/embed/],
  ])('%s with %j', async (path, fields, status, message) => {
    const body = { model, ...(path === 'chat' && { messages }), ...fields };
    const response = await server.post(`/api/${path}`, body);
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ error: expect.stringMatching(message) });
  });

  test('are the client’s, also at the end of a stream', async () => {
    const { messages: refused } = { messages: [{ role: 'pirate', content: 'Arr' }] };
    await expect(client.chat({ model, messages: refused })).rejects.toMatchObject({ status_code: 400 });
    llm.engine.addRequest = () => {
      throw new QueueFullError('The queue is full.');
    };
    await expect(client.chat({ model, messages })).rejects.toMatchObject({ status_code: 429 });
    llm.engine.addRequest = (...args) => {
      const stream = scriptedRequest(...args);
      setTimeout(() => stream.fail(new Error('a bug')), 5);
      return stream;
    };
    script.answers.push('a '.repeat(400));
    const broken: AsyncIterable<ChatResponse | GenerateResponse> = await client.chat({ model, messages, stream: true });
    await expect(collected(broken)).rejects.toThrow(/The server failed to answer/);
  });
});
