import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { ENDLESS, endlessTokenizer } from '../text/endless-tokenizer.ts';
import { CHAT_TEMPLATE, sharedServer, startServer, type TestServer } from './test-server.ts';

/** The bundled model with a tokenizer that does not come to an end with `ENDLESS`. */
async function endlessModel(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mamba2-endless-'));
  for (const file of ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer_config.json']) {
    await symlink(join(TINY_DTS, file), join(folder, file));
  }
  await writeFile(join(folder, 'tokenizer.json'), await endlessTokenizer());
  return folder;
}

describe('a text that does not come to an end with the tokenizer', () => {
  let folder: string;
  let server: TestServer;
  beforeAll(async () => {
    const app = { limits: { maxTextSeconds: 0.3 }, chatTemplate: CHAT_TEMPLATE };
    folder = await endlessModel();
    server = await startServer(app, {}, folder);
  });
  afterAll(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });

  test.each([
    ['/v1/completions', { prompt: ENDLESS, max_tokens: 1 }],
    ['/v1/completions', { prompt: ['type A', ENDLESS], max_tokens: 1 }],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: ENDLESS }], max_tokens: 1 }],
    ['/tokenize', { prompt: ENDLESS }],
    // Bad words become tokens, too.
    ['/v1/completions', { prompt: 'type A', bad_words: ['any', ENDLESS], max_tokens: 1 }],
  ])('is a 400 on %s, and others are answered', async (path, body) => {
    const { llm, post, get } = server;
    const waiting = post(path, body);
    expect((await get('/health')).status).toBe(200);
    const refused = await waiting;
    expect(refused.status).toBe(400);
    const { error } = await refused.json();
    expect(error).toMatchObject({ type: 'invalid_request_error', code: 'text_limit' });
    expect(error.message).toMatch(/took too long/);
    expect((await post('/v1/completions', { prompt: 'type A', max_tokens: 1 })).status).toBe(200);
    expect(llm.engine.stats().runningRequests).toBe(0);
  });
});

const { llm, post } = await sharedServer({ chatTemplate: CHAT_TEMPLATE });

test('long texts and lists of tokens are answered as the library has them', async () => {
  const prompt = 'export interface User { name: string; }\n'.repeat(300);
  const tokens = llm.tokenize(prompt);
  const listed = await (await post('/tokenize', { prompt, return_token_strs: true })).json();
  expect(listed).toMatchObject({ count: tokens.length, tokens, max_model_len: 16384 });
  expect(listed.token_strs).toHaveLength(tokens.length);
  expect(await (await post('/detokenize', { tokens })).json()).toEqual({
    prompt: llm.tokenizer?.decode(tokens, { skipSpecialTokens: false }),
  });
  const whole = { prompt, max_tokens: 3, temperature: 0, return_token_ids: true };
  const answer = await (await post('/v1/completions', whole)).json();
  expect(answer.choices[0].prompt_token_ids).toEqual(tokens);
  const { choices } = await llm.complete(prompt, { maxTokens: 3, temperature: 0 });
  expect(answer.choices[0].token_ids).toEqual(choices[0].tokenIds);
});

test.each([
  ['/tokenize', { prompt: '' }, { count: 0, tokens: [], token_strs: null }],
  ['/detokenize', { tokens: [] }, { prompt: '' }],
])('nothing is nothing: %s', async (path, body, expected) => {
  const fields = path === '/tokenize' ? { ...body, add_special_tokens: false } : body;
  expect(await (await post(path, fields)).json()).toMatchObject(expected);
});
