import { expect, onTestFinished, test } from 'vitest';
import { rawPost, settled, until } from './raw-client.ts';
import { startServer } from './test-server.ts';

/** Megabytes that the kernel keeps for a connection are less than this many tokens take. */
const TOKENS = 12_000;
const LONG = { prompt: 'export interface User {', max_tokens: 5000, temperature: 0, ignore_eos: true };

test('slow readers make their request wait, not the memory grow; other requests continue, and nothing is lost', async () => {
  const server = await startServer({}, { maxNumSeqs: 2, maxUnreadTokens: 32 });
  onTestFinished(() => server.close());
  const { llm, url, post } = server;
  // Twenty alternatives per token make the kernel's buffers full soon.
  const body = { ...LONG, max_tokens: TOKENS, stream: true, logprobs: 20 };
  const socket = await rawPost(url, '/v1/completions', body);
  const tokens = () => llm.engine.stats().completionTokens;
  await until('tokens come', () => tokens() > 0);
  socket.pause();
  const stalled = await settled(tokens);
  expect(stalled).toBeLessThan(TOKENS);
  const other = await post('/v1/completions', { ...LONG, max_tokens: 20 });
  expect((await other.json()).usage.completion_tokens).toBe(20);
  const chunks: string[] = [];
  socket.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk));
  socket.resume();
  await until('all is read', () => chunks.at(-1)?.includes('[DONE]') ?? false, 600);
  const text = chunks.join('');
  const read = [...text.matchAll(/"tokens":(\[.*?\]),"token_logprobs"/g)].flatMap(([, list]) => JSON.parse(list));
  expect(read.length).toBe(TOKENS);
  socket.destroy();
}, 900_000);
