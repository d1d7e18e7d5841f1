import { connect } from 'node:net';
import type { Worker } from 'node:worker_threads';
import OpenAI, { RateLimitError } from 'openai';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { EngineEvent } from '../../src/engine/engine-events.ts';
import { createApp } from '../../src/server/app.ts';
import { GOLDEN } from '../engine/golden-folder.ts';
import { rawPost, settled, until } from './raw-client.ts';
import { readEvents, startServer, type TestServer } from './test-server.ts';

const LONG = { prompt: 'export interface User {', max_tokens: 5000, temperature: 0, ignore_eos: true };

async function server(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const started = await startServer(...args);
  onTestFinished(() => started.close());
  return started;
}

describe('clients that vanish', () => {
  test.each([
    ['in the middle of a stream', { stream: true }],
    ['while they wait for a whole answer', {}],
    ['with several answers', { stream: true, n: 3, temperature: 1 }],
    ['with several prompts', { stream: true, prompt: ['a', 'b', 'c'] }],
  ])('%s free their slots within a step', async (_, fields) => {
    const { llm, url } = await server();
    const events: EngineEvent['type'][] = [];
    const socket = await rawPost(url, '/v1/completions', { ...LONG, ...fields });
    await until('tokens come', () => llm.engine.stats().completionTokens > 20);
    llm.engine.onEvent(({ type }) => events.push(type));
    socket.destroy();
    await until('the slots are free', () => llm.engine.stats().freeSlots === 8);
    // One step may run when the connection closes, and one more until the server hears of it.
    const before = events.slice(0, events.indexOf('finished')).filter((type) => type === 'step');
    expect(before.length).toBeLessThanOrEqual(2);
    expect(llm.engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0 });
    expect(llm.engine.stats().finishedRequests).toMatchObject({ length: 0, stop: 0, error: 0 });
    llm.engine.checkIntegrity();
  });

  test('while they wait in the queue leave it', async () => {
    const { llm, url } = await server({}, { maxNumSeqs: 1 });
    const running = await rawPost(url, '/v1/completions', { ...LONG, stream: true });
    await until('the first runs', () => llm.engine.stats().runningRequests === 1);
    const waiting = await rawPost(url, '/v1/completions', LONG);
    await until('the second waits', () => llm.engine.stats().waitingRequests === 1);
    waiting.destroy();
    await until('nobody waits', () => llm.engine.stats().waitingRequests === 0);
    expect(llm.engine.stats().runningRequests).toBe(1);
    running.destroy();
    await until('the slot is free', () => llm.engine.stats().freeSlots === 1);
  });

  test('while they send a body are no trouble', async () => {
    const { url, get } = await server();
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on('error', () => {});
    socket.write(
      'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"prompt": ',
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await get('/health')).status).toBe(200);
  });
});

describe('slow readers', () => {
  // Without a socket, whose buffers hold thousands of tokens: slow-readers.exhaustive.test.ts has one.
  test('make their request wait, not the memory grow; other requests continue, and nothing is lost', async () => {
    const { llm, post } = await server({}, { maxNumSeqs: 2, maxUnreadTokens: 32 });
    const body = { ...LONG, max_tokens: 300, stream: true, logprobs: 20 };
    const slow = await createApp({ llm }).request('/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const tokens = () => llm.engine.stats().completionTokens;
    await until('tokens come', () => tokens() > 0);
    expect(await settled(tokens)).toBeLessThan(100);
    const other = await post('/v1/completions', { ...LONG, max_tokens: 20 });
    expect((await other.json()).usage.completion_tokens).toBe(20);
    const { events, done } = await readEvents(slow);
    expect(done).toBe(true);
    const read = events.flatMap(({ choices }) =>
      (choices as { logprobs: { tokens: string[] } | null }[]).flatMap(({ logprobs }) => logprobs?.tokens ?? []),
    );
    expect(read).toHaveLength(300);
  });
});

describe('a full queue', () => {
  test('refuses with 429 and says when to come again; the official client does', async () => {
    const { llm, url, post } = await server({}, { maxNumSeqs: 1, maxQueueSize: 1 });
    const sockets = [await rawPost(url, '/v1/completions', { ...LONG, stream: true })];
    await until('one runs', () => llm.engine.stats().runningRequests === 1);
    sockets.push(await rawPost(url, '/v1/completions', LONG));
    await until('one waits', () => llm.engine.stats().waitingRequests === 1);
    const refused = await post('/v1/completions', LONG);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect((await refused.json()).error).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
    const streamed = await post('/v1/completions', { ...LONG, stream: true });
    expect(streamed.status).toBe(429);
    await streamed.text();
    // All or nothing: of several prompts none is left behind.
    expect((await post('/v1/completions', { ...LONG, prompt: ['a', 'b'] })).status).toBe(429);
    expect(llm.engine.stats()).toMatchObject({ runningRequests: 1, waitingRequests: 1 });
    const create = (maxRetries: number) =>
      new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries }).completions.create({
        model: 'tiny-dts',
        prompt: 'type',
        max_tokens: 3,
      });
    await expect(create(0)).rejects.toThrow(RateLimitError);
    const retried = create(5);
    for (const socket of sockets) socket.destroy();
    expect((await retried).usage?.completion_tokens).toBe(3);
  });
});

describe('ranks', () => {
  test('that die end running requests with an error event, and the server continues', async () => {
    const workers: Worker[] = [];
    const collect = (worker: Worker) => workers.push(worker);
    process.on('worker', collect);
    onTestFinished(() => void process.off('worker', collect));
    const { llm, post, get } = await server({}, { tensorParallelSize: 2, maxNumSeqs: 2, recover: true }, GOLDEN);
    const body = { prompt: [1, 2, 3], max_tokens: 4, temperature: 0, return_token_ids: true };
    const answer = async () => (await (await post('/v1/completions', body)).json()).choices[0].token_ids;
    const expected = await answer();
    const streams = [1, 2].map((first) =>
      post('/v1/completions', { prompt: [first], max_tokens: 10_000, ignore_eos: true, stream: true }),
    );
    await until('two run', () => llm.engine.stats().runningRequests === 2);
    const whole = post('/v1/completions', { prompt: [9], max_tokens: 20, ignore_eos: true });
    await until('one waits', () => llm.engine.stats().waitingRequests === 1);
    const waiting = answer();
    await workers[1].terminate();
    for (const stream of streams) {
      const { events, done } = await readEvents(await stream);
      expect(events.at(-1)).toMatchObject({ error: { type: 'server_error', code: 'internal' } });
      expect(done).toBe(true);
    }
    // Who waited has lost nothing.
    expect(await waiting).toEqual(expected);
    expect(llm.engine.stats()).toMatchObject({ recoveries: 1 });
    expect((await get('/health')).status).toBe(200);
    expect((await whole).status).toBe(200);
  }, 120_000);

  test('that die while nothing runs fail no request; meanwhile /health says so', async () => {
    const workers: Worker[] = [];
    const collect = (worker: Worker) => workers.push(worker);
    process.on('worker', collect);
    onTestFinished(() => void process.off('worker', collect));
    const { llm, post, get } = await server({}, { tensorParallelSize: 2, recover: true }, GOLDEN);
    const app = createApp({ llm });
    // Asked at once: the answer is made before any thread can have been started.
    const failed = new Promise<Response>((resolve) => {
      llm.engine.onEvent(({ type }) => type === 'executorFailed' && resolve(app.request('/health')));
    });
    await workers[1].terminate();
    const health = await failed;
    const answers = [1, 2].map((first) => post('/v1/completions', { prompt: [first], max_tokens: 2 }));
    expect(health.status).toBe(503);
    expect(await health.json()).toEqual({
      status: 'unavailable',
      reason: 'The model failed and is being loaded again.',
    });
    for (const each of answers) expect((await each).status).toBe(200);
    expect((await get('/health')).status).toBe(200);
  }, 120_000);

  test('that can not be loaded again make the server unhealthy', async () => {
    const workers: Worker[] = [];
    const collect = (worker: Worker) => workers.push(worker);
    process.on('worker', collect);
    onTestFinished(() => void process.off('worker', collect));
    const { post, get } = await server({}, { tensorParallelSize: 2 }, GOLDEN);
    const running = post('/v1/completions', { prompt: [1], max_tokens: 10_000, ignore_eos: true });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await workers[0].terminate();
    const failed = await running;
    expect(failed.status).toBe(500);
    // What happened is for the log.
    expect(await failed.json()).toMatchObject({ error: { message: 'The server failed to answer; its log says why.' } });
    const health = await get('/health');
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({ reason: expect.stringContaining('is not loaded again') });
    expect((await post('/v1/completions', { prompt: [1] })).status).toBe(500);
  }, 120_000);
});
