import { expect, onTestFinished, test } from 'vitest';
import type { AppOptions } from '../../src/server/app-options.ts';
import { startServer } from './test-server.ts';

const PROMPT = 'const password = "hunter2"; export interface User';

/** Asks as the owner of a key; → the prompt tokens that were cached. */
async function asking(app: Partial<AppOptions>) {
  const server = await startServer(app);
  onTestFinished(() => server.close());
  return async (key: string | undefined, fields: object = {}, path = '/v1/completions'): Promise<number> => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    const body = path.includes('chat') ? { messages: [{ role: 'user', content: PROMPT }] } : { prompt: PROMPT };
    const response = await server.post(path, { max_tokens: 1, ...body, ...fields }, { headers });
    const { usage, error } = await response.json();
    if (error) throw new Error(`${response.status} ${error.param}: ${error.message}`);
    return usage.prompt_tokens_details.cached_tokens;
  };
}

test('several keys have a cache each', async () => {
  const cached = await asking({ apiKeys: ['A', 'B'] });
  expect(await cached('A')).toBe(0);
  expect(await cached('B')).toBe(0);
  expect(await cached('A')).toBeGreaterThan(5);
  expect(await cached('B', { prompt: `${PROMPT} {` })).toBeGreaterThan(5);
  // No salt of one key leads to another's states.
  for (const salt of ['A', '', 'B']) await cached('B', { prompt: 'x', ...(salt && { cache_salt: salt }) });
  expect(await cached('A', {}, '/v1/chat/completions')).toBe(0);
  expect(await cached('B', {}, '/v1/chat/completions')).toBe(0);
  expect(await cached('A', {}, '/v1/chat/completions')).toBeGreaterThan(5);
});

test('several keys share the cache where the owner says so', async () => {
  const cached = await asking({ apiKeys: ['A', 'B'], sharePrefixCache: true });
  expect(await cached('A')).toBe(0);
  expect(await cached('B')).toBeGreaterThan(5);
  expect(await cached('B', { cache_salt: 'b' })).toBe(0);
  expect(await cached('A', { cache_salt: 'b' })).toBeGreaterThan(5);
});

test('a salt keeps requests apart within a key, and without keys', async () => {
  for (const [apiKeys, key] of [
    [['A', 'A'], 'A'],
    [[], undefined],
  ] as const) {
    const cached = await asking({ apiKeys });
    expect(await cached(key)).toBe(0);
    expect(await cached(key, { cache_salt: 'one' })).toBe(0);
    expect(await cached(key, { cache_salt: 'two', stream: false })).toBe(0);
    expect(await cached(key, { cache_salt: 'one' })).toBeGreaterThan(5);
    expect(await cached(key, { cache_salt: null })).toBeGreaterThan(5);
    await expect(cached(key, { cache_salt: '' })).rejects.toThrow('400 cache_salt');
    await expect(cached(key, { cache_salt: 7 })).rejects.toThrow('400 cache_salt');
  }
});
