import { describe, expect, test } from 'vitest';
import { CHAT_TEMPLATE, sharedServer } from './test-server.ts';

const { llm, post } = await sharedServer({ chatTemplate: CHAT_TEMPLATE }, { enablePrefixCaching: false });

/** Beyond this a body is parsed on another thread. */
const LARGE = 16_384;

const COMPLETION = { prompt: 'type A', max_tokens: 3, temperature: 0, return_token_ids: true };
const CHAT = { messages: [{ role: 'user', content: 'type A' }], max_tokens: 3, temperature: 0, return_token_ids: true };

/** The same body, which is large and says no more. */
function large(body: object): string {
  const text = JSON.stringify(body);
  return text + ' '.repeat(LARGE);
}

async function answer(path: string, body: object | string): Promise<object> {
  const { id: _, created: __, ...rest } = await (await post(path, body)).json();
  return rest;
}

describe('a large body is answered as a small one', () => {
  test.each<[string, object]>([
    ['/v1/completions', COMPLETION],
    ['/v1/completions', { ...COMPLETION, prompt: ['type A', 'type B'] }],
    ['/v1/completions', { ...COMPLETION, prompt: llm.tokenize('type A') }],
    ['/v1/completions', { ...COMPLETION, prompt: [llm.tokenize('type A'), [5, 6]], echo: true, logprobs: 2 }],
    ['/v1/completions', { ...COMPLETION, logit_bias: { '7': 100 }, seed: 1, temperature: 1 }],
    ['/v1/chat/completions', CHAT],
    ['/tokenize', { prompt: 'type A', return_token_strs: true }],
    ['/tokenize', { messages: CHAT.messages }],
    ['/detokenize', { tokens: [5, 6, 7] }],
    ['/v1/completions', {}],
    ['/v1/completions', { ...COMPLETION, promt: 1 }],
    ['/v1/completions', { ...COMPLETION, prompt: [] }],
    ['/v1/completions', { ...COMPLETION, prompt: [1, 'a'] }],
    ['/v1/completions', { ...COMPLETION, prompt: [1e300] }],
    ['/v1/completions', { ...COMPLETION, prompt: [-1] }],
    ['/v1/completions', { ...COMPLETION, prompt: [[]] }],
    ['/v1/completions', { ...COMPLETION, prompt: Array(129).fill('a') }],
    ['/v1/completions', { ...COMPLETION, stop: [1] }],
    ['/v1/completions', { ...COMPLETION, tools: [{}] }],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: [1] }] }],
    ['/detokenize', { tokens: [5, 4096] }],
  ])('%s %j', async (path, body) => {
    expect(await answer(path, large(body))).toEqual(await answer(path, body));
  });

  test.each([
    ['[]', /must be a JSON object/],
    ['{"prompt"', /not valid JSON/],
    ['', /body is empty/],
  ])('%s', async (text, message) => {
    const response = await post('/v1/completions', text + ' '.repeat(LARGE));
    expect(response.status).toBe(400);
    expect((await response.json()).error.message).toMatch(message);
  });

  test('seeds of 64 bits included', async () => {
    const text = (seed: string) => `{"prompt": "type A", "max_tokens": 8, "seed": ${seed}}${' '.repeat(LARGE)}`;
    const [a, b] = await Promise.all(
      ['9007199254740993', '9007199254740992'].map((seed) => answer('/v1/completions', text(seed))),
    );
    expect(a).not.toEqual(b);
  });
});

describe('what is wrong is said briefly, however much of it there is', () => {
  const fields = (count: number, value: unknown = 1) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, value]));
  test.each<[string, string, object, RegExp]>([
    ['unknown fields', '/v1/completions', { ...COMPLETION, ...fields(5000) }, /There is no field 'k0'/],
    [
      'fields that are null',
      '/v1/completions',
      { ...COMPLETION, ...fields(20_000, null) },
      /The body has 20004 fields/,
    ],
    ['a long name', '/v1/completions', { ...COMPLETION, ['x'.repeat(1e5)]: 1 }, /There is no field 'x{100}…'/],
    [
      'fields of an option',
      '/v1/completions',
      { ...COMPLETION, stream_options: fields(5000) },
      /stream_options: Unrecognized key: "k0"/,
    ],
    [
      'fields of a message',
      '/v1/chat/completions',
      { messages: [{ role: 'user', content: 'a', ...fields(5000) }] },
      /k0/,
    ],
    ['biased tokens', '/v1/completions', { ...COMPLETION, logit_bias: fields(5000) }, /'logit_bias' has 5000 entries/],
    ['stop strings', '/v1/completions', { ...COMPLETION, stop: Array(5000).fill(1) }, /'stop' has 5000 entries/],
    ['prompts', '/v1/completions', { ...COMPLETION, prompt: Array(5000).fill('') }, /There are 5000 prompts/],
  ])('%s', async (_, path, body, message) => {
    const response = await post(path, body);
    expect(response.status).toBe(400);
    const text = await response.text();
    expect(JSON.parse(text).error.message).toMatch(message);
    expect(text.length).toBeLessThan(1000);
  });
});
