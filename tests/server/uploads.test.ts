import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { bodyBytes, UploadMemory } from '../../src/server/request/body-bytes.ts';
import type { ServerEnv } from '../../src/server/request/env.ts';
import { HttpError } from '../../src/server/wire/http-error.ts';

/** Answers with the length of a body; 60,000 bytes of memory are there for bodies beyond 16 KiB. */
function app() {
  const memory = new UploadMemory(60_000);
  return new Hono<ServerEnv>()
    .post('/', async (c) => c.text(`${(await bodyBytes(c, 100_000, memory)).length}`))
    .onError((error) => new Response(error.message, { status: error instanceof HttpError ? error.status : 500 }));
}

/** A body of which so many bytes come; the rest waits for its end. */
function unfinished(length: number) {
  let end: (error?: Error) => void = () => {};
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new Uint8Array(length));
      end = (error) => (error ? controller.error(error) : controller.close());
    },
  });
  const init: RequestInit & { duplex: 'half' } = { method: 'POST', body: stream, duplex: 'half' };
  return { request: new Request('http://localhost/', init), end: (error?: Error) => end(error) };
}

test('bodies that are being received have a bound together; small ones pass, and what ends gives its memory back', async () => {
  const server = app();
  const send = async (length: number) => {
    const response = await server.request('/', { method: 'POST', body: new Uint8Array(length) });
    return [response.status, await response.text()];
  };
  const first = unfinished(50_000);
  const answer = server.request(first.request);
  await new Promise(setImmediate);
  expect(await send(50_000)).toEqual([429, expect.stringContaining('Try again later')]);
  expect(await send(10_000)).toEqual([200, '10000']);
  first.end();
  expect(await (await answer).text()).toBe('50000');
  expect(await send(50_000)).toEqual([200, '50000']);

  const second = unfinished(50_000);
  const refused = server.request(second.request);
  await new Promise(setImmediate);
  second.end(new Error('gone'));
  expect((await refused).status).not.toBe(200);
  expect(await send(50_000)).toEqual([200, '50000']);
  expect(await send(200_000)).toEqual([413, expect.stringContaining('larger than')]);
});
