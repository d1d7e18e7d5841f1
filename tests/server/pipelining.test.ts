import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { sharedServer } from './test-server.ts';

const { url, llm } = await sharedServer();
const HEAD = 'Host: x\r\nContent-Type: application/json\r\n';

function client(): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) }).setEncoding('utf8');
  socket.on('error', () => {});
  onTestFinished(() => void socket.destroy());
  return socket;
}

/** What comes until `count` answers have begun. */
async function answers(socket: Socket, count: number): Promise<string[]> {
  let text = '';
  const begun = () => text.split('HTTP/1.1 ').slice(1);
  while (begun().length < count || !/\r\n\r\n.*\}$/s.test(text)) [text] = [text + (await once(socket, 'data'))[0]];
  return begun();
}

function completion(maxTokens: number): string {
  const body = JSON.stringify({ prompt: 'type A', max_tokens: maxTokens, ignore_eos: true });
  return `POST /v1/completions HTTP/1.1\r\n${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`;
}

test('pipelined requests are answered one by one, in their order', async () => {
  const running: number[] = [];
  const stop = llm.engine.onEvent(() => running.push(llm.engine.stats().runningRequests));
  onTestFinished(stop);
  const socket = client();
  socket.write(`${completion(3)}${completion(5)}GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n${completion(2)}`);
  const found = await answers(socket, 4);
  expect(found.map((answer) => answer.slice(0, 3))).toEqual(['200', '200', '404', '200']);
  const lengths = found.map((answer) => /"completion_tokens":(\d+)/.exec(answer)?.[1]);
  expect(lengths).toEqual(['3', '5', undefined, '2']);
  expect(Math.max(...running)).toBe(1);
});

test('a client that sends very many ahead of their answers is cut off, and others are served', async () => {
  const socket = client();
  socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(500));
  await once(socket, 'close');
  expect((await fetch(`${url}/health`)).status).toBe(200);
});

test('a body in chunks of one byte is read as any other', async () => {
  const body = JSON.stringify({ prompt: 'type A', max_tokens: 2, ignore_eos: true });
  const chunks = Array.from(body, (character) => `1\r\n${character}\r\n`).join('');
  const socket = client();
  socket.write(`POST /v1/completions HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`);
  const [answer] = await answers(socket, 1);
  expect(answer).toMatch(/^200.*"completion_tokens":2/s);
});
