import { Hono } from 'hono';
import { expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { createApp } from '../../src/server/index.ts';

test('an app can be mounted in another, and needs no socket', async () => {
  const llm = await LLM.load('tiny-dts');
  onTestFinished(() => llm.dispose());
  const app = new Hono();
  app.get('/own', (c) => c.text('mine'));
  app.route('/llm', createApp({ llm, apiKeys: ['k'] }));
  const headers = { 'content-type': 'application/json', authorization: 'Bearer k' };
  const post = (path: string, body: object) =>
    app.request(path, { method: 'POST', headers, body: JSON.stringify(body) });

  const answer = await post('/llm/v1/completions', {
    prompt: 'export interface User {',
    max_tokens: 4,
    temperature: 0,
  });
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ model: 'tiny-dts', usage: { completion_tokens: 4 } });
  const stream = await post('/llm/v1/completions', { prompt: 'type', max_tokens: 4, stream: true });
  expect(await stream.text()).toMatch(/data: \[DONE\]\n\n$/);

  // Errors are its own, and stay in its part.
  expect((await post('/llm/v1/completions', {})).status).toBe(400);
  expect((await app.request('/llm/v1/models')).status).toBe(401);
  expect((await app.request('/llm/v1/completions', { headers })).status).toBe(405);
  const refused = await app.request('/llm/v1/messages', { method: 'POST', headers: { 'x-api-key': 'other' } });
  expect(await refused.json()).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
  expect(await (await app.request('/llm/api/chat', { headers })).json()).toEqual({
    error: expect.stringMatching(/GET is not for/),
  });
  expect(await (await app.request('/own')).text()).toBe('mine');
  expect(await (await app.request('/nowhere')).text()).toBe('404 Not Found');
  expect(await (await app.request('/llm/health')).json()).toEqual({ status: 'ok' });
});
