import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import { resolveSamplingParams } from '../../src/engine/sample/sampling-params.ts';
import { AnswerMemory, answerBytes } from '../../src/server/answer/answer-memory.ts';
import { JsonList, jsonPieces } from '../../src/server/answer/json-pieces.ts';
import { jsonResponse } from '../../src/server/answer/json-response.ts';
import { DEFAULT_LIMITS } from '../../src/server/request/limits.ts';
import { few } from '../runs.ts';
import { readEvents, sharedServer } from './test-server.ts';

const MIB = 2 ** 20;

describe('what an answer may take', () => {
  const bytes = (prompts: number, promptTokens: number, options: object, isStream = false) => {
    const params = resolveSamplingParams({ temperature: 0, ...options }, {});
    return answerBytes({
      prompts: Array.from({ length: prompts }, () => new Array<number>(promptTokens).fill(1)),
      params: new Array(prompts).fill(params),
      isStream,
      maxUnreadTokens: 4096,
    });
  };

  test('lets all that the other limits allow pass, without logprobs', () => {
    expect(bytes(1, 4, { n: 128, maxTokens: 16_380 })).toBeLessThan(DEFAULT_LIMITS.maxAnswerBytes);
    expect(bytes(128, 8192, { maxTokens: 8192 })).toBeLessThan(DEFAULT_LIMITS.maxAnswerBytes);
    expect(bytes(128, 2000, { maxTokens: 1, promptLogprobs: 5 })).toBeLessThan(DEFAULT_LIMITS.maxAnswerBytes);
  });

  test('refuses logprobs of all that the other limits allow', () => {
    expect(bytes(1, 4, { n: 128, maxTokens: 16_380, logprobs: 20 })).toBeGreaterThan(DEFAULT_LIMITS.maxAnswerBytes);
    expect(bytes(128, 16_000, { promptLogprobs: 20 })).toBeGreaterThan(DEFAULT_LIMITS.maxAnswerBytes);
  });

  test('of a stream is what lies unread, whatever the logprobs', () => {
    const plain = bytes(1, 4, { n: 128, maxTokens: 16_380 }, true);
    expect(bytes(1, 4, { n: 128, maxTokens: 16_380, logprobs: 20 }, true)).toBe(plain);
    expect(plain).toBeLessThan(32 * MIB);
  });

  test('is given back once', () => {
    const memory = new AnswerMemory({ maxAnswerBytes: 60, maxPendingBytes: 100 });
    const release = memory.reserve(60);
    expect(() => memory.reserve(61)).toThrow(expect.objectContaining({ status: 400 }));
    expect(() => memory.reserve(41)).toThrow(expect.objectContaining({ status: 429 }));
    memory.reserve(40);
    release();
    release();
    expect(memory.reservedBytes).toBe(40);
    memory.reserve(60);
  });
});

describe('JSON in pieces', () => {
  test('is that of the whole', () => {
    const plain = {
      a: [1, 'x"', null],
      b: { c: [] as number[], d: undefined, e: {} },
      f: [{ g: 1 }, { h: [2] }],
      i: false,
    };
    expect([...jsonPieces(plain, 3)].join('')).toBe(JSON.stringify(plain));
    const lazy = { list: new JsonList(() => [{ a: 1 }, 'b', new JsonList(() => [])]) };
    expect([...jsonPieces(lazy, 5)].join('')).toBe('{"list":[{"a":1},"b",[]]}');
  });

  test('is sent as a whole where it is short, else as it is read', async () => {
    const ends: unknown[] = [];
    let opened = 0;
    const events = { onOpen: () => opened++, onEnd: (error?: unknown) => ends.push(error) };
    expect(await jsonResponse({ a: 1 }, events).text()).toBe('{"a":1}');
    expect({ opened, ends }).toEqual({ opened: 0, ends: [undefined] });
    let made = 0;
    const list = new JsonList(function* () {
      for (; made < 100_000; made++) yield 'a token';
    });
    const response = jsonResponse({ list }, events);
    expect(made).toBeLessThan(30_000);
    expect(JSON.parse(await response.text()).list).toHaveLength(100_000);
    expect({ opened, ends }).toEqual({ opened: 1, ends: [undefined, undefined] });
    made = 0;
    await jsonResponse({ list }, events).body?.cancel();
    expect(ends).toHaveLength(3);
    expect(made).toBeLessThan(30_000);
  });
});

describe('a server', async () => {
  const limits = { maxAnswerBytes: 200_000, maxPendingBytes: 250_000 };
  const { post, llm } = await sharedServer({ limits });
  const ask = (body: object) =>
    post('/v1/completions', { prompt: 'export interface', temperature: 0, ignore_eos: true, ...body });

  test('refuses an answer that may be too large, and says how to make it smaller', async () => {
    const response = await ask({ n: 8, max_tokens: 500, logprobs: 20 });
    expect(response.status).toBe(400);
    expect((await response.json()).error).toMatchObject({
      code: 'too_many',
      message: expect.stringContaining('logprobs'),
    });
    expect((await ask({ n: 8, max_tokens: 500, logprobs: 20, stream: true })).status).toBe(400);
  });

  test('has others wait while all memory for answers is taken, and gives it back', async () => {
    const large = { n: 4, max_tokens: 60, logprobs: 20 };
    for (const _ of few([1, 2, 3])) {
      const responses = await Promise.all([ask({ ...large, max_tokens: 125 }), ask({ ...large, max_tokens: 125 })]);
      // Until its answer was read to the end, a request has not ended.
      for (const response of responses) await response.text();
      expect(responses.map(({ status }) => status).sort()).toEqual([200, 429]);
      expect(responses.find(({ status }) => status === 429)?.headers.get('retry-after')).toBe('1');
    }
    // Refused before they reach the engine, aborted, and ended: all have given it back.
    expect((await ask({ ...large, max_tokens: 125 })).status).toBe(200);
    expect(llm.engine.stats()).toMatchObject({ waitingRequests: 0, runningRequests: 0 });
  });

  test('writes a long answer whole', async () => {
    const body = { n: 2, max_tokens: 150, logprobs: 20, echo: true, return_token_ids: true };
    const whole = await (await ask(body)).json();
    for (const index of [0, 1]) {
      const { choices } = whole as { choices: Choice[] };
      const { text, token_ids, logprobs, finish_reason } = choices[index];
      expect(finish_reason).toBe('length');
      expect(token_ids).toHaveLength(150);
      // The first begins the text, and is no part of it.
      expect(logprobs.tokens.slice(1).join('')).toBe(text);
      for (const list of Object.values(logprobs)) expect(list).toHaveLength(logprobs.tokens.length);
      expect(logprobs.top_logprobs[0]).toBeNull();
    }
  });
});

interface Choice {
  readonly text: string;
  readonly token_ids: readonly number[];
  readonly finish_reason: string | null;
  readonly logprobs: {
    readonly tokens: string[];
    readonly token_logprobs: (number | null)[];
    readonly top_logprobs: (object | null)[];
    readonly text_offset: number[];
  };
}

describe('an echo with logprobs', async () => {
  const { post } = await sharedServer();

  test('is the same as a whole and in a stream, where it takes several events', async () => {
    const prompt = 'export declare function find(id: number): User;\n'.repeat(60);
    const body = { prompt, max_tokens: 5, temperature: 0, logprobs: 2, echo: true };
    const [whole] = (await (await post('/v1/completions', body)).json()).choices as [Choice];
    const { events } = await readEvents(await post('/v1/completions', { ...body, stream: true }));
    const parts = events.flatMap(({ choices }) => choices as Choice[]);
    expect(whole.logprobs.tokens.length).toBeGreaterThan(600);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.map(({ text }) => text).join('')).toBe(whole.text);
    for (const name of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const) {
      expect(parts.flatMap(({ logprobs }) => logprobs[name] as unknown[])).toEqual(whole.logprobs[name]);
    }
  });
});

describe('answers of /tokenize and /detokenize', async () => {
  const limits = { maxAnswerBytes: 1_500_000, maxPendingBytes: 1_500_000 };
  const { llm, post, url } = await sharedServer({ limits });
  const [space] = llm.tokenize(' '.repeat(32)).slice(-1);
  const tokens = (count: number) => ({ tokens: new Array<number>(count).fill(space) });
  const width = llm.tokenizer?.decode([space]).length ?? 0;
  const most = Math.floor(1_400_000 / width);

  test('count until they are sent, and no longer', async () => {
    for (let i = 0; i < 3; i++) {
      const response = await post('/detokenize', tokens(most));
      expect(response.status).toBe(200);
      expect((await response.json()).prompt).toBe(' '.repeat(width * most));
    }
    expect((await post('/v1/completions', { prompt: 'a', max_tokens: 1 })).status).toBe(200);
  });

  test('are refused where one is too large', async () => {
    const response = await post('/detokenize', tokens(2 * most));
    expect(response.status).toBe(400);
    expect((await response.json()).error).toMatchObject({ code: 'too_many' });
  });

  test('let go of their memory when the client leaves', async () => {
    const { hostname, port } = new URL(url);
    const body = JSON.stringify(tokens(most));
    const head = `POST /detokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
    const socket = connect({ host: hostname, port: Number(port) });
    socket.write(`${head}\r\n\r\n${body}`);
    await once(socket, 'data');
    socket.destroy();
    let last = await post('/detokenize', tokens(most));
    // The end of a connection takes a moment to come through.
    while (last.status === 429) last = await post('/detokenize', tokens(most));
    expect(last.status).toBe(200);
  });
});
