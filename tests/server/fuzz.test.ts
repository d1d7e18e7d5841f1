import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { runs } from '../runs.ts';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

const server = await sharedServer(
  { chatTemplate: CHAT_TEMPLATE, limits: { maxModelLen: 48, maxBodyBytes: 100_000, maxAnswers: 6 } },
  { maxNumSeqs: 4, maxQueueSize: 1000 },
);
const { url, llm } = server;

const COMPLETION = {
  prompt: 'type',
  max_tokens: 3,
  stream: false,
  n: 1,
  temperature: 1,
  stop: ['x'],
  logprobs: 1,
  seed: 1,
};
const CHAT = {
  messages: [{ role: 'user', content: 'hi' }],
  max_tokens: 3,
  logprobs: true,
  top_logprobs: 1,
  stream: true,
};
const MESSAGES = {
  messages: [
    { role: 'user', content: [{ type: 'text', text: 'hi' }] },
    { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: 'b' }] },
  ],
  max_tokens: 3,
  system: 'a',
  stop_sequences: ['x'],
  stream: true,
};
const RESPONSE = {
  input: [
    { role: 'user', content: [{ type: 'input_text', text: 'hi' }] },
    { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'a' }] },
    { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' },
    { type: 'function_call_output', call_id: 'a', output: 'b' },
  ],
  instructions: 'a',
  max_output_tokens: 3,
  text: { format: { type: 'text' } },
  truncation: 'auto',
  stream: true,
};
const TOKENIZE = { prompt: 'type A = B', add_special_tokens: true };
const VALID: readonly (readonly [string, object])[] = [
  ['/v1/completions', COMPLETION],
  [
    '/v1/completions',
    { ...COMPLETION, prompt: [1, 2], echo: true, stream: true, logit_bias: { 5: 1 }, stream_options: {} },
  ],
  ['/v1/chat/completions', CHAT],
  ['/v1/responses', RESPONSE],
  ['/v1/responses/input_tokens', { input: 'type', instructions: 'a' }],
  ['/v1/messages', MESSAGES],
  ['/v1/messages/count_tokens', { messages: MESSAGES.messages, system: 'a' }],
  ['/api/chat', { messages: MESSAGES.messages.slice(0, 1), options: { num_predict: 3 }, think: true, format: '' }],
  ['/api/generate', { prompt: 'type', options: { num_predict: 3, stop: ['x'] }, raw: true, stream: false }],
  ['/tokenize', TOKENIZE],
  ['/detokenize', { tokens: [1, 2, 3] }],
];

/** Numbers that have bitten others, beside ordinary ones. */
const hostileNumber = fc.oneof(
  fc.constantFrom(0, -1, 1e308, -1e308, 2 ** 31, 2 ** 53, -(2 ** 53), 1e-320, 0.1, 4096, 4095),
  fc.double({ noNaN: true }),
  fc.integer(),
);
const hostileText = fc.oneof(
  fc.constantFrom(
    '',
    '\u0000',
    '\ud800',
    '\uffff',
    '__proto__',
    'constructor',
    '{{ 1/0 }}',
    '<|endoftext|>',
    'a'.repeat(5000),
    '🏳️‍🌈',
    '\u202e',
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
);
const hostileValue = fc.oneof(
  hostileNumber,
  hostileText,
  fc.constantFrom(null, true, false, [], {}, [[]], [null], [{}]),
  fc.array(hostileNumber, { maxLength: 5 }),
  fc.array(hostileText, { maxLength: 5 }),
  fc.array(fc.array(hostileNumber, { maxLength: 3 }), { maxLength: 3 }),
  fc.dictionary(hostileText, hostileValueLeaf(), { maxKeys: 3 }),
  fc.jsonValue({ maxDepth: 4 }),
);

function hostileValueLeaf() {
  return fc.oneof(hostileNumber, hostileText, fc.constant(null));
}

const FIELDS = [
  'model',
  'prompt',
  'messages',
  'max_tokens',
  'max_completion_tokens',
  'n',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'seed',
  'stop',
  'stream',
  'stream_options',
  'logprobs',
  'top_logprobs',
  'echo',
  'logit_bias',
  'presence_penalty',
  'frequency_penalty',
  'best_of',
  'repetition_penalty',
  'min_tokens',
  'stop_token_ids',
  'bad_words',
  'ignore_eos',
  'priority',
  'skip_special_tokens',
  'user',
  'tools',
  'include_stop_str_in_output',
  'response_format',
  'return_token_ids',
  'add_special_tokens',
  'tokens',
  'return_token_strs',
  'prompt_logprobs',
  'truncate_prompt_tokens',
  'input',
  'instructions',
  'max_output_tokens',
  'text',
  'reasoning',
  'include',
  'truncation',
  'metadata',
  'system',
  'thinking',
  'tool_choice',
  'output_config',
  'stop_sequences',
  'options',
  'format',
  'think',
  'raw',
  'keep_alive',
  '__proto__',
];

/** A valid body with some fields replaced, added or taken away. */
const changedBody = fc
  .tuple(
    fc.constantFrom(...VALID),
    fc.array(fc.tuple(fc.constantFrom(...FIELDS), fc.option(hostileValue)), { maxLength: 4 }),
  )
  .map(([[path, valid], changes]) => {
    const body = new Map<string, unknown>(Object.entries(valid));
    for (const [field, value] of changes) {
      if (value === null) body.delete(field);
      else body.set(field, value);
    }
    const members = [...body].map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`);
    return [path, `{${members.join(', ')}}`] as const;
  });

/** A valid body's bytes with some changed, cut or doubled. */
const brokenBody = fc
  .tuple(fc.constantFrom(...VALID), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }), fc.nat())
  .map(([[path, valid], changes, cut]) => {
    const bytes = new TextEncoder().encode(JSON.stringify(valid));
    for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
    return [path, bytes.slice(0, 1 + (cut % bytes.length))] as const;
  });

async function send(
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<void> {
  const response = await fetch(url + path, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
    signal: AbortSignal.timeout(20_000),
  });
  const text = await response.text();
  expect(response.status, text).toBeLessThan(500);
  expect(text).not.toMatch(/"server_error"|"api_error"|The server failed to answer/);
  if (response.status < 400) return;
  const { error } = JSON.parse(text);
  expect(error.message ?? error).toBeTypeOf('string');
}

/** Still there, with nothing left over. */
afterEach(async () => {
  expect((await fetch(`${url}/health`)).status).toBe(200);
  expect(llm.engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0, freeSlots: 4 });
  expect(llm.engine.stats().finishedRequests.error).toBe(0);
  llm.engine.checkIntegrity();
});

test('bodies with hostile fields are answered or refused', async () => {
  await fc.assert(
    fc.asyncProperty(changedBody, ([path, body]) => send(path, body)),
    { numRuns: runs(1500) },
  );
}, 300_000);

test('broken bodies are refused', async () => {
  await fc.assert(
    fc.asyncProperty(brokenBody, ([path, bytes]) => send(path, bytes)),
    { numRuns: runs(400) },
  );
}, 120_000);

test('hostile paths, methods and headers are answered or refused', async () => {
  const path = fc.oneof(
    fc.constantFrom(
      '/v1/models/%00',
      '/v1/models/%ff',
      '/%2e%2e/',
      '//',
      '/v1/models/a%2fb',
      '/v1//models',
      '/?a=b',
      '/v1/models/%',
      '/openapi.json/',
    ),
    fc.webPath(),
  );
  const method = fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD');
  const headers = fc.dictionary(
    fc.constantFrom(
      'x-request-id',
      'content-type',
      'authorization',
      'accept',
      'content-encoding',
      'origin',
      'range',
      'expect-ct',
    ),
    fc.string({ unit: fc.constantFrom(...'abc/;=, "\\{}1é'), maxLength: 300 }),
    { maxKeys: 3 },
  );
  await fc.assert(
    fc.asyncProperty(path, method, headers, async (path, method, headers) => {
      const response = await fetch(url + path, { method, headers, ...(method === 'POST' && { body: '{}' }) });
      await response.text();
      expect(response.status).toBeLessThan(500);
    }),
    { numRuns: runs(400) },
  );
}, 120_000);

test('what is not HTTP is cut off', async () => {
  const { hostname, port } = new URL(url);
  const line = fc.oneof(
    fc.constantFrom(
      'GET / HTTP/1.1\r\n\r\n',
      'GET / HTTP/9.9\r\nHost: x\r\n\r\n',
      'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
      'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
      'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      `GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`,
      'GET http://[/ HTTP/1.1\r\nHost: \\\r\n\r\n',
      'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
      'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    ),
    fc.string({ unit: 'binary', maxLength: 200 }),
  );
  await fc.assert(
    fc.asyncProperty(line, async (text) => {
      const socket = connect({ host: hostname, port: Number(port) });
      const received: string[] = [];
      socket.setEncoding('latin1').on('data', (chunk: string) => received.push(chunk));
      socket.on('error', () => {});
      socket.end(text);
      await new Promise((resolve) => socket.once('close', resolve));
      expect(received.join('')).not.toMatch(/^HTTP\/1.1 5/);
    }),
    { numRuns: runs(150) },
  );
}, 120_000);
