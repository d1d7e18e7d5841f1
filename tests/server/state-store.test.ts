import { expect, onTestFinished, test } from 'vitest';
import { MemoryStore } from '../engine/store/memory-store.ts';
import { startServer, type TestServer } from './test-server.ts';

const PROMPT = 'export interface User { id: number; name: string; email: string; tags: string[] }';

async function replica(store: MemoryStore, apiKeys?: readonly string[], sharePrefixCache = false): Promise<TestServer> {
  const server = await startServer({ apiKeys, sharePrefixCache }, { stateStore: store, stateFetch: 'always' });
  onTestFinished(() => server.close());
  return server;
}

/** → the prompt tokens that were cached. */
async function cached(server: TestServer, key?: string, fields: object = {}): Promise<number> {
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const response = await server.post('/v1/completions', { prompt: PROMPT, max_tokens: 1, ...fields }, { headers });
  const { usage } = await response.json();
  await expect.poll(() => server.llm.engine.stats().stateStore?.pendingPuts).toBe(0);
  return usage.prompt_tokens_details.cached_tokens;
}

test('tenants and salts stay apart in a store, as they do in a cache', async () => {
  const store = new MemoryStore();
  const one = await replica(store, ['A', 'B']);
  expect(await cached(one, 'A')).toBe(0);
  expect(await cached(one, 'A', { cache_salt: 'x' })).toBe(0);
  const other = await replica(store, ['B', 'A']);
  expect(await cached(other, 'B')).toBe(0);
  expect(await cached(other, 'B', { cache_salt: 'x' })).toBe(0);
  expect(await cached(other, 'A')).toBeGreaterThan(10);
  expect(await cached(other, 'A', { cache_salt: 'x' })).toBeGreaterThan(10);
});

test('tenants that share the cache share the store', async () => {
  const store = new MemoryStore();
  expect(await cached(await replica(store, ['A', 'B'], true), 'A')).toBe(0);
  expect(await cached(await replica(store, ['A', 'B'], true), 'B')).toBeGreaterThan(10);
});

test('metrics count what the store does', async () => {
  const store = new MemoryStore();
  await cached(await replica(store));
  const server = await replica(store);
  const tokens = await cached(server);
  store.before = () => Promise.reject(new Error('gone'));
  await cached(server, undefined, { prompt: 'something else' });
  const metrics = await (await server.get('/metrics')).text();
  const value = (name: string) =>
    Number(new RegExp(`^mamba2:${name}\\{[^}]*\\} (.+)$`, 'm').exec(metrics)?.[1] ?? Number.NaN);
  expect(value('state_store_queries_total')).toBe(2);
  expect(value('state_store_hits_total')).toBe(1);
  expect(value('state_store_misses_total')).toBe(1);
  expect(value('state_store_hit_tokens_total')).toBe(tokens);
  expect(value('state_store_read_bytes_total')).toBeGreaterThan(1e6);
  expect(value('state_store_failures_total')).toBeGreaterThan(0);
  expect(value('state_store_damaged_total')).toBe(0);
  expect(value('state_store_pending_bytes')).toBe(0);
  expect(value('state_store_get_seconds_count')).toBe(1);
});

test('without a store there are no such metrics', async () => {
  const server = await startServer();
  onTestFinished(() => server.close());
  expect(await (await server.get('/metrics')).text()).not.toContain('state_store');
});
