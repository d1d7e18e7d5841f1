import { expect, test } from 'vitest';
import { isFullRun } from '../runs.ts';
import { readEvents, sharedServer } from './test-server.ts';

// Fewer slots than requests, short steps and a small cache: requests wait, are cut into chunks, and meet evictions.
const { llm, post } = await sharedServer(
  {},
  { maxNumSeqs: 6, maxNumBatchedTokens: 48, prefixCacheBytes: 20e6, snapshotInterval: 16 },
);

const TEXT = 'export interface User { name: string; email: string; } export declare function find(id: number): User;\n';

/** Requests of all kinds: greedy and seeded, short and long, some with a common beginning. */
const REQUESTS = Array.from({ length: isFullRun ? 48 : 18 }, (_, i) => ({
  prompt:
    i % 3 === 0 ? TEXT.repeat(1 + (i % 4)) : `declare module '${'x'.repeat(i % 7)}${i}' {\n${TEXT.slice(0, i * 2)}`,
  max_tokens: 5 + ((i * 13) % 40),
  temperature: i % 2 === 0 ? 0 : 0.9,
  seed: i,
  ...(i % 4 === 1 && { top_p: 0.9, top_k: 50 }),
  ...(i % 5 === 2 && { repetition_penalty: 1.2, presence_penalty: 0.3 }),
  ...(i % 6 === 3 && { stop: [';\n', 'name'] }),
  ...(i % 8 === 5 && { logprobs: 3 }),
}));

interface Answer {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly finishReason: string | null;
}

interface Choice {
  readonly text: string;
  readonly token_ids: readonly number[];
  readonly finish_reason: string | null;
}

async function ask(request: object, stream: boolean): Promise<Answer> {
  const response = await post('/v1/completions', { ...request, return_token_ids: true, stream });
  expect(response.status).toBe(200);
  const parts = stream ? (await readEvents(response)).events : [await response.json()];
  const choices = (parts as { choices: readonly [Choice] }[]).map(({ choices: [choice] }) => choice);
  return {
    text: choices.map(({ text }) => text).join(''),
    tokenIds: choices.flatMap(({ token_ids }) => token_ids),
    finishReason: choices.at(-1)?.finish_reason ?? null,
  };
}

test('every answer under load is the one that the same request gets alone, token for token', async () => {
  const together = await Promise.all(REQUESTS.map((request, i) => ask(request, i % 2 === 0)));
  const { preemptions, prefixCache } = llm.engine.stats();
  expect(prefixCache.hits).toBeGreaterThan(0);
  expect(preemptions).toBe(0);
  llm.engine.checkIntegrity();
  for (const [i, request] of REQUESTS.entries())
    expect(await ask(request, i % 2 === 1), `request ${i}`).toEqual(together[i]);
}, 120_000);
