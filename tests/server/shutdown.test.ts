import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import { ListenError } from '../../src/errors.ts';
import { type RunningServer, type ServeOptions, serve } from '../../src/server/node-server.ts';
import { TINY_DTS } from '../cli/tiny-dts.ts';
import { GOLDEN } from '../engine/golden-folder.ts';

const LONG = { prompt: 'export interface User {', max_tokens: 5000, temperature: 0, ignore_eos: true };
const HEAD = 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';

async function start(options: Partial<ServeOptions> = {}): Promise<RunningServer & { readonly llm: LLM }> {
  const llm = await LLM.load(TINY_DTS, { maxNumSeqs: 8, device: 'cpu' });
  const running = await serve({ llm, port: 0, modelNames: ['tiny-dts'], ...options });
  onTestFinished(async () => {
    await running.shutdown(AbortSignal.abort());
    await llm.dispose();
  });
  return { ...running, llm };
}

/** A connection, what has come on it, and its end. */
class Client {
  readonly socket: Socket;
  text = '';
  readonly ended: Promise<void>;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port) });
    this.socket.setEncoding('utf8').on('data', (text: string) => {
      this.text += text;
    });
    this.socket.on('error', () => {});
    this.ended = new Promise((resolve) => this.socket.once('close', resolve));
    onTestFinished(() => void this.socket.destroy());
  }

  async sent(text: string): Promise<this> {
    await new Promise((resolve) => this.socket.write(text, resolve));
    return this;
  }

  async until(part: string): Promise<void> {
    while (!this.text.includes(part)) await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function whole(body: object): string {
  const text = JSON.stringify(body);
  return `${HEAD}Content-Length: ${text.length}\r\n\r\n${text}`;
}

const connections = (server: RunningServer['server']) =>
  new Promise<number>((resolve, reject) => server.getConnections((error, n) => (error ? reject(error) : resolve(n))));

describe('shutdown', () => {
  // None has a signal: with one of these left open, the test would not end.
  test('does not wait for connections on which nothing was asked, or not to the end', async () => {
    const { url, server, shutdown } = await start();
    const clients = await Promise.all([
      new Client(url),
      new Client(url).sent('POST /v1/comple'),
      new Client(url).sent('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'),
      new Client(url).sent(`${HEAD}Content-Length: 500\r\n\r\n{"prompt": `),
      new Client(url).sent(`${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\n`),
    ]);
    await clients[2].until('"ok"');
    while ((await connections(server)) < clients.length) await new Promise((resolve) => setTimeout(resolve, 5));
    await shutdown();
    await Promise.all(clients.map(({ ended }) => ended));
  });

  test('finishes what was accepted, says that the connection closes, and does so', async () => {
    const { llm, url, shutdown } = await start();
    const unstarted = new Client(url);
    const [streamed, plain] = await Promise.all([
      new Client(url).sent(whole({ ...LONG, max_tokens: 300, stream: true })),
      new Client(url).sent(whole({ ...LONG, max_tokens: 300 })),
    ]);
    await streamed.until('data: ');
    while (llm.engine.stats().runningRequests < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    const down = shutdown();
    await unstarted.sent(whole(LONG));
    await down;
    await Promise.all([streamed.ended, plain.ended, unstarted.ended]);
    expect(streamed.text).toContain('data: [DONE]');
    expect(plain.text).toMatch(/^HTTP\/1.1 200[\s\S]*\r\nconnection: close\r\n[\s\S]*"completion_tokens":300/i);
    expect(unstarted.text).toMatch(/^HTTP\/1.1 503[\s\S]*\r\nconnection: close\r\n/i);
  });

  test('settles each call, and any of their signals cuts', async () => {
    const { llm, url, shutdown } = await start();
    const client = await new Client(url).sent(whole({ ...LONG, max_tokens: 16000, stream: true }));
    await client.until('data: ');
    const cut = new AbortController();
    const downs = [shutdown(), shutdown(cut.signal), llm.engine.shutdown(), llm.engine.shutdown()];
    cut.abort();
    await Promise.all(downs);
    await shutdown();
    await client.ended;
    expect(client.text).toContain('"code":"shutdown"');
  });
});

test('an upload that its sender breaks off is 499, whatever its encoding', async () => {
  const lines: { status: number; path: string }[] = [];
  const logger = pino({ base: null }, { write: (line) => void lines.push(JSON.parse(line)) });
  const { url, server } = await start({ logger });
  for (const body of ['Content-Length: 500\r\n\r\n{"pro', 'Transfer-Encoding: chunked\r\n\r\n5\r\n{"pro\r\n']) {
    const read = new Promise((resolve) => server.once('request', resolve));
    const client = await new Client(url).sent(`${HEAD}${body}`);
    const before = lines.length;
    await read;
    client.socket.destroy();
    while (lines.length === before) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(lines.map(({ status, path }) => ({ status, path }))).toEqual(
    Array.from({ length: 2 }, () => ({ status: 499, path: '/v1/completions' })),
  );
  expect(await (await fetch(`${url}/metrics`)).text()).not.toMatch(/http_requests_total\{.*status="5/);
});

test('requests may bear the same id, at once too', async () => {
  const { url } = await start();
  const ask = (stream: boolean) =>
    fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': 'mine' },
      body: JSON.stringify({ ...LONG, max_tokens: 50, stream }),
    });
  const answers = await Promise.all([ask(false), ask(true), ask(false)]);
  expect(answers.map(({ status, headers }) => [status, headers.get('x-request-id')])).toEqual(
    Array.from({ length: 3 }, () => [200, 'mine']),
  );
});

describe('an address that can not be had', () => {
  let llm: LLM;
  beforeAll(async () => {
    llm = await LLM.load(GOLDEN, { device: 'cpu' });
  });
  afterAll(() => llm.dispose());

  test.each([
    ['a port that is taken', {}],
    ['a host of another machine', { host: '192.0.2.1', port: 0 }],
    ['a host that does not exist', { host: 'nowhere.invalid', port: 0 }],
    ['a port beyond the last', { port: 65536 }],
  ])('%s', async (_, address) => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as AddressInfo;
    await expect(serve({ llm, port, ...address })).rejects.toThrow(ListenError);
  });
});
