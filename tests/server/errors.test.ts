import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { readEvents, sharedServer, startServer } from './test-server.ts';

const limits = { maxBodyBytes: 20_000, maxModelLen: 200, maxAnswers: 4, maxListLength: 3 };
const { post, get, url } = await sharedServer({ limits }, { chatTemplate: null });
const messages = [{ role: 'user', content: 'hi' }];

/** What the server answers a body that it refuses. */
async function refusal(path: string, body: unknown, init?: RequestInit) {
  const response = await post(path, body, init);
  const { error } = await response.json();
  expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code']);
  expect(response.headers.get('content-type')).toBe('application/json');
  return { status: response.status, ...error };
}

describe('a completion is refused', () => {
  const COMPLETION = { prompt: 'type' };
  test.each([
    [{}, 400, 'prompt', /prompt: expected a text, token ids, or a list of either/],
    [{ prompt: [] }, 400, 'prompt', /expected a text/],
    [{ prompt: ['a', 1] }, 400, 'prompt', /expected a text/],
    [{ prompt: [1.5] }, 400, 'prompt', /expected a text/],
    [{ prompt: [[]] }, 400, null, /no tokens/],
    [{ prompt: [99999] }, 400, null, /Token id 99999 is outside the vocabulary/],
    [{ prompt: [-1] }, 400, null, /Token id -1/],
    [{ ...COMPLETION, model: 'gpt-4' }, 404, 'model', /There is no model 'gpt-4'. This server has 'tiny-dts'/],
    [{ ...COMPLETION, max_token: 4 }, 400, 'max_token', /no field 'max_token'. Did you mean 'max_tokens'/],
    [{ ...COMPLETION, temperature: 'hot' }, 400, 'temperature', /temperature: .*expected number/],
    [{ ...COMPLETION, temperature: -1 }, 400, 'temperature', /temperature is -1; expected a number at least 0/],
    [{ ...COMPLETION, top_p: 0 }, 400, 'top_p', /top_p is 0/],
    [{ ...COMPLETION, max_tokens: -3 }, 400, 'max_tokens', /max_tokens is -3/],
    [{ ...COMPLETION, n: 0 }, 400, 'n', /n is 0/],
    [{ ...COMPLETION, n: 5 }, 400, 'n', /5 answers; this server takes 4/],
    [{ prompt: ['a', 'b', 'c'], n: 2 }, 400, 'n', /6 answers/],
    [{ prompt: ['a', 'b', 'c', 'd', 'e'] }, 400, 'prompt', /5 prompts/],
    [{ ...COMPLETION, stop: ['a', 'b', 'c', 'd'] }, 400, 'stop', /'stop' has 4 entries; this server takes 3/],
    [{ prompt: 'x'.repeat(4000) }, 400, null, /4000 characters; this server takes 3200/],
    [{ ...COMPLETION, bad_words: ['x'.repeat(17_000)] }, 400, 'bad_words', /17000 characters/],
    [{ ...COMPLETION, stop: [''] }, 400, 'stop', /^stop has an empty text/],
    [{ ...COMPLETION, stop: [1] }, 400, 'stop.0', /expected string/],
    [{ ...COMPLETION, stop_token_ids: [1, 2, 3, 4] }, 400, 'stop_token_ids', /4 entries/],
    [{ ...COMPLETION, stop_token_ids: [-1] }, 400, 'stop_token_ids', /^stop_token_ids has the id -1/],
    ...(['a', '1.5', ' 1', '0x10', '1e3', '-1', '١', ''].map((id) => [
      { ...COMPLETION, logit_bias: { [id]: 1 } },
      400,
      'logit_bias',
      /^logit_bias has the key '.*'; expected token ids: whole decimal numbers/,
    ]) as [unknown, number, string, RegExp][]),
    [{ ...COMPLETION, logit_bias: { 999999: 1 } }, 400, null, /Token id 999999/],
    [{ ...COMPLETION, logprobs: 21 }, 400, 'logprobs', /at most 20/],
    [{ ...COMPLETION, seed: 1.5 }, 400, 'seed', /seed: expected an integer/],
    ['{"prompt": "type", "seed": 9223372036854775808}', 400, 'seed', /seed is 9223372036854775808; expected/],
    ['{"prompt": "type", "seed": -9223372036854775809}', 400, 'seed', /seed is -9223372036854775809/],
    [{ ...COMPLETION, seed: 1e300 }, 400, 'seed', /expected an integer of 64 bits/],
    [{ ...COMPLETION, seed: '1' }, 400, 'seed', /seed: expected an integer/],
    [{ ...COMPLETION, suffix: 'end' }, 400, 'suffix', /'suffix' is not supported/],
    [{ ...COMPLETION, best_of: 3 }, 400, 'best_of', /not supported/],
    [{ ...COMPLETION, prompt_logprobs: 21 }, 400, 'prompt_logprobs', /^prompt_logprobs is 21/],
    [
      { ...COMPLETION, structured_outputs: { choice: ['a'], regex: 'b' } },
      400,
      'structured_outputs',
      /'choice' and 'regex'/,
    ],
    [{ ...COMPLETION, guided_json: { not: {} } }, 400, null, /'not' {}, which is not supported/],
    [{ ...COMPLETION, max_tokens: 200 }, 400, null, /takes 200 tokens .* You asked for 2 in the prompt and 200/],
    [{ prompt: Array(201).fill(1) }, 400, null, /asked for 201/],
    [{ prompt: Array(201).fill('x').join(' ') }, 400, null, /takes 200 tokens/],
    [{ ...COMPLETION, stream_options: { include_usage: 1 } }, 400, 'stream_options.include_usage', /boolean/],
    [[], 400, null, /must be a JSON object/],
    ['"text"', 400, null, /must be a JSON object/],
    ['', 400, null, /The body is empty/],
    ['{"prompt": "secret', 400, null, /^The body is not valid JSON.$/],
  ])('%j', async (body, status, param, message) => {
    const error = await refusal('/v1/completions', body);
    expect(error).toMatchObject({ status, param, type: 'invalid_request_error' });
    expect(error.message).toMatch(message);
  });
});

describe('a chat is refused', () => {
  test.each([
    [{ messages: [] }, 'messages', /messages: /],
    [{ messages: 'hi' }, 'messages', /expected array/],
    [{ messages: [{ role: 'user' }] }, 'messages.0.content', /expected string or array/],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
      'messages.0.content.0.type',
      /'image_url'; only text parts are supported/,
    ],
    [{ messages: [{ role: 'user', content: 'x', colour: 'red' }] }, 'messages.0', /colour/],
    [
      { messages: [...messages, { role: 'assistant', content: '', tool_calls: [{ id: 'a' }] }] },
      'messages.1.tool_calls.0.function',
      /expected object/,
    ],
    [
      { messages: [...messages, { role: 'assistant', content: null, function_call: { name: 'f' } }] },
      'messages.1.function_call',
      /not supported/,
    ],
    [
      { messages: [...messages, { role: 'assistant', content: 'x', audio: { id: 'a' } }] },
      'messages.1.audio',
      /not supported/,
    ],
    [
      { messages: [...messages, { role: 'assistant', content: 'x', prefix: true }] },
      'messages.1.prefix',
      /continue_final_message/,
    ],
    [
      { messages: [...messages, { role: 'assistant', content: 'x', refusal: 'no' }] },
      'messages.1.refusal',
      /both a content and a refusal/,
    ],
    [{ messages: [{ role: null, content: 'x' }] }, 'messages.0.role', /expected string/],
    [{ messages: [null] }, 'messages.0', /expected object/],
    [{ messages: [{ role: 'user', content: [null] }] }, 'messages.0.content.0', /expected/],
    [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, 'messages.0.content.0.text', /expected string/],
    [{ messages, tools: [{}], tool_choice: 'none' }, 'tools', /has an entry 0 that is not/],
    [{ messages, tool_choice: 'required' }, 'tool_choice', /there are no tools/],
    [{ messages, web_search_options: {} }, 'web_search_options', /not supported/],
    [
      { messages, tools: [{ type: 'function', function: { name: 'f' } }] },
      'tools',
      /does not write them.*--chat-template/,
    ],
    [{ messages, response_format: { type: 'json' } }, 'response_format', /has the type "json"/],
    [{ messages, response_format: { type: 'json_schema' } }, 'response_format', /has no json_schema/],
    [{ messages, structured_outputs: { xml: 'a' } }, 'structured_outputs', /has 'xml'/],
    [{ messages, structured_outputs: { regex: 'b' }, guided_choice: ['a'] }, 'guided_choice', /two forms/],
    [{ messages, top_logprobs: 3 }, 'top_logprobs', /needs 'logprobs'/],
    [{ messages, max_tokens: 0 }, 'max_tokens', /max_tokens is 0/],
    [{ messages, modalities: ['audio'] }, 'modalities', /may be/],
    [{ messages }, 'messages', /has no chat template. Use \/v1\/completions/],
  ])('%j', async (body, param, message) => {
    const error = await refusal('/v1/chat/completions', body);
    expect(error).toMatchObject({ status: 400, param });
    expect(error.message).toMatch(message);
  });

  test('for a role that the template does not know', async () => {
    const own = await startServer({
      chatTemplate: '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}',
    });
    for (const path of ['/v1/chat/completions', '/tokenize']) {
      const response = await own.post(path, { messages: [...messages, { role: 'asistant', content: 'x' }] });
      expect(response.status).toBe(400);
      const { error } = await response.json();
      expect(error).toMatchObject({ param: 'messages', code: 'chat_template' });
      expect(error.message).toMatch(/Message 2 has the role 'asistant'.*Use one of 'system', 'user', 'assistant'/);
    }
    await own.close();
  });

  test('with a template that does not come to an end', async () => {
    const chatTemplate = '{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}';
    const own = await startServer({ chatTemplate });
    const response = await own.post('/v1/chat/completions', { messages });
    expect(response.status).toBe(400);
    // Whichever ends it first: its steps, or on a slow machine its time.
    expect((await response.json()).error.message).toMatch(/too many steps|took too long/);
    await own.close();
  });

  test('by its template, in the words of the template', async () => {
    const chatTemplate = "{{ raise_exception('roles must alternate') }}";
    const own = await startServer({ chatTemplate });
    const response = await own.post('/v1/chat/completions', { messages });
    expect(response.status).toBe(400);
    expect((await response.json()).error).toMatchObject({ param: 'messages', message: /roles must alternate/ });
    await own.close();
  });
});

describe('HTTP', () => {
  test('unknown paths, methods, media types and encodings', async () => {
    expect(await refusal('/v1/nothing', {})).toMatchObject({ status: 404, code: 'not_found' });
    expect((await get('/v1/../etc/passwd')).status).toBe(404);
    const wrong = await get('/v1/completions');
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST']);
    const remove = await get('/v1/models', { method: 'DELETE' });
    expect([remove.status, remove.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    const headers = { 'content-type': 'text/plain' };
    expect(await refusal('/v1/completions', { prompt: 'x' }, { headers })).toMatchObject({ status: 415 });
    const gzip = { 'content-encoding': 'gzip' };
    expect(await refusal('/v1/completions', 'x', { headers: gzip })).toMatchObject({ status: 415 });
  });

  test('bodies that are too large, with their length and without', async () => {
    const large = JSON.stringify({ prompt: 'x'.repeat(30_000) });
    expect(await refusal('/v1/completions', large)).toMatchObject({ status: 413, code: 'body_too_large' });
    const body = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 10; i++)
          controller.enqueue(new TextEncoder().encode(large.slice(i * 3000, (i + 1) * 3000)));
        controller.close();
      },
    });
    const chunked = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { 'content-type': 'application/json' },
    } as RequestInit);
    expect(chunked.status).toBe(413);
    await chunked.text();
  });

  test('chunked bodies within the limit', async () => {
    const bytes = new TextEncoder().encode(JSON.stringify({ prompt: 'Größe', max_tokens: 1 }));
    const body = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const headers = { 'content-type': 'application/json' };
    const init = { method: 'POST', body, duplex: 'half', headers } as RequestInit;
    expect((await fetch(`${url}/v1/completions`, init)).status).toBe(200);
  });

  test('what is nested or long is refused before it is looked at', async () => {
    const own = await startServer();
    // Messages of what counts; those of the schema, which would look at every entry, are others.
    const refused = async (body: string) => {
      const response = await own.post('/v1/completions', body);
      expect(response.status).toBe(400);
      return (await response.json()).error.message;
    };
    const deep = `{"prompt": "x", "metadata": ${'['.repeat(1e6)}${']'.repeat(1e6)}}`;
    expect(await refused(deep)).toBe("'metadata' is nested too deeply.");
    const long = (field: string) => `{"prompt": "x", "${field}": [${'1,'.repeat(1e6)}1]}`;
    expect(await refused(long('stop'))).toMatch(/^'stop' has 1000001 entries/);
    expect(await refused(long('messages'))).toMatch(/^'messages' is not supported/);
    expect(await refused(long('metadata'))).toBe("'metadata' is too long.");
    const ids = `{"prompt": [${'1,'.repeat(1e6)}"x"]}`;
    expect((await own.post('/v1/completions', ids)).status).toBe(400);
    await own.close();
  });

  test('keys: none, wrong, right; health needs none', async () => {
    const own = await startServer({ apiKeys: ['k1', 'k2'] });
    const status = async (path: string, authorization?: string) =>
      (await own.get(path, authorization === undefined ? {} : { headers: { authorization } })).status;
    for (const path of ['/v1/models', '/v1/nothing', '/tokenize']) expect(await status(path)).toBe(401);
    expect(await status('/v1/models', 'Bearer k3')).toBe(401);
    expect(await status('/v1/models', 'k1')).toBe(401);
    expect(await status('/v1/models', 'Bearer k1')).toBe(200);
    expect(await status('/v1/models', 'bearer k2')).toBe(200);
    for (const path of ['/health', '/version', '/metrics', '/openapi.json']) expect(await status(path)).toBe(200);
    const { headers } = await own.get('/v1/models');
    expect(headers.get('www-authenticate')).toBe('Bearer');
    await own.close();
  });

  test('pages of other origins: refused unless they are named', async () => {
    const own = await startServer({ corsOrigins: ['https://a.example'], apiKeys: ['k'] });
    const preflight = (origin: string) =>
      own.get('/v1/completions', {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    const allowed = await preflight('https://a.example');
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://a.example');
    expect(allowed.headers.get('access-control-allow-headers')).toMatch(/authorization/i);
    expect((await preflight('https://b.example')).headers.get('access-control-allow-origin')).toBeNull();
    const plain = await get('/v1/models', { headers: { origin: 'https://a.example' } });
    expect(plain.headers.get('access-control-allow-origin')).toBeNull();
    await own.close();
  });
});

describe('the log', () => {
  test('has a line per request, with what it cost and without what it said', async () => {
    const lines: string[] = [];
    const logger = pino({ base: null }, { write: (line: string) => void lines.push(line) });
    const own = await startServer({ logger });
    const secret = 'export interface Secret {';
    await own.post('/v1/completions', { prompt: secret, max_tokens: 3 }, { headers: { 'x-request-id': 'mine' } });
    await readEvents(await own.post('/v1/completions', { prompt: secret, max_tokens: 3, stream: true }));
    await own.post('/v1/completions', `{"prompt": "${secret}`);
    await own.close();
    const requests = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request');
    expect(requests).toMatchObject([
      {
        requestId: 'mine',
        method: 'POST',
        path: '/v1/completions',
        status: 200,
        completionTokens: 3,
        finishReason: 'length',
      },
      { stream: true, status: 200, completionTokens: 3, cachedTokens: 6 },
      { status: 400, code: 'invalid_json' },
    ]);
    expect(lines.join('')).not.toContain('Secret');
  });
});
