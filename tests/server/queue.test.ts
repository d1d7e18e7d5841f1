import { describe, expect, test } from 'vitest';
import { readEvents, sharedServer } from './test-server.ts';

const COMPLETIONS = '/v1/completions';

describe('priorities', async () => {
  const fcfs = await sharedServer();
  const byPriority = await sharedServer({ schedulingPolicy: 'priority' });

  test('are refused where the owner has not asked for them', async () => {
    const refused = await fcfs.post(COMPLETIONS, { prompt: 'type', max_tokens: 1, priority: -1 });
    expect(refused.status).toBe(400);
    expect((await refused.json()).error).toMatchObject({
      param: 'priority',
      message: expect.stringContaining('--scheduling-policy'),
    });
    expect((await fcfs.post(COMPLETIONS, { prompt: 'type', max_tokens: 1, priority: 0 })).status).toBe(200);
  });

  test('are taken where the owner has', async () => {
    expect((await byPriority.post(COMPLETIONS, { prompt: 'type', max_tokens: 1, priority: -5 })).status).toBe(200);
  });
});

describe('the queue', async () => {
  const { post, llm } = await sharedServer({}, { maxNumSeqs: 8, maxQueueSize: 3 });

  test('takes what comes at once into an idle server', async () => {
    const one = { prompt: 'export', max_tokens: 4 };
    const statuses = await Promise.all(Array.from({ length: 11 }, async () => (await post(COMPLETIONS, one)).status));
    expect(statuses).toEqual(new Array(11).fill(200));
    const many = { prompt: new Array(10).fill('export'), max_tokens: 2 };
    const answers = await Promise.all(Array.from({ length: 4 }, () => post(COMPLETIONS, many)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await answers[3].json()).choices).toHaveLength(10);
    expect(llm.engine.stats().refusedRequests).toBe(0);
  });

  test('says at once that a request never fits', async () => {
    const response = await post(COMPLETIONS, { prompt: new Array(12).fill('export'), max_tokens: 2 });
    expect(response.status).toBe(400);
    expect((await response.json()).error).toMatchObject({ param: 'prompt', code: 'too_many' });
  });

  test('of several prompts in one stream loses nothing, and gives each its end', async () => {
    const body = {
      prompt: new Array(11).fill('export'),
      max_tokens: 6,
      temperature: 0,
      ignore_eos: true,
      stream: true,
    };
    const { events, done } = await readEvents(await post(COMPLETIONS, { ...body, return_token_ids: true }));
    expect(done).toBe(true);
    const tokens = new Map<number, number>();
    for (const { choices } of events) {
      for (const { index, token_ids } of choices as { index: number; token_ids: number[] }[]) {
        tokens.set(index, (tokens.get(index) ?? 0) + token_ids.length);
      }
    }
    expect([...tokens.entries()].sort(([a], [b]) => a - b)).toEqual(Array.from({ length: 11 }, (_, i) => [i, 6]));
  });
});
