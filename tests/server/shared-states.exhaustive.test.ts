import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createClient, RESP_TYPES } from 'redis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MAIN } from '../cli/run-cli.ts';
import { type RedisServer, startRedis } from '../engine/store/redis-server.ts';
import { need } from '../needs/needs.ts';
import { until } from './raw-client.ts';
import { CHAT_TEMPLATE } from './test-server.ts';

const REDIS = need('redis');

interface Replica {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly log: readonly { readonly msg: string }[];
  post(body: object, key?: string): Promise<ChatAnswer>;
  /** Value of a metric. */
  metric(name: string): Promise<number>;
}

interface ChatAnswer {
  readonly text: string;
  readonly promptTokens: number;
  readonly cachedTokens: number;
}

const FILLER = 'export interface Item { id: number; name: string; value: Array<string | undefined>; }\n'.repeat(4);

describe.skipIf(REDIS === undefined)('replicas with a store in Redis', () => {
  let redis: RedisServer;
  let folder = '';
  let template = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mamba2-test-'));
    template = join(folder, 'template.jinja');
    await writeFile(template, CHAT_TEMPLATE);
    redis = await startRedis(REDIS ?? '');
  });
  afterAll(async () => {
    await redis.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function replica(args: readonly string[] = [], store = redis.url): Promise<Replica> {
    const all = ['serve', '--port', '0', '--tensor-parallel-size', '1', '--chat-template', template, '--no-page'];
    const shared = store === '' ? [] : ['--state-store', store, '--state-fetch', 'always'];
    const child = spawn(process.execPath, [MAIN, ...all, ...shared, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    const log: { readonly msg: string; readonly url?: string }[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const entry = JSON.parse(line);
        log.push(entry);
        if (entry.url !== undefined) resolve(entry.url);
      });
      ended.then((code) => reject(new Error(`A replica ended with ${code}.`)));
    });
    const post = async (body: object, key?: string) => {
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ max_tokens: 16, temperature: 0, ...body }),
        headers: { 'content-type': 'application/json', ...(key !== undefined && { authorization: `Bearer ${key}` }) },
      });
      const answer = await response.json();
      expect([response.status, answer.error]).toEqual([200, undefined]);
      const { prompt_tokens: promptTokens, prompt_tokens_details: details } = answer.usage;
      return { text: answer.choices[0].message.content, promptTokens, cachedTokens: details.cached_tokens };
    };
    const metric = async (name: string) => {
      const text = await (await fetch(`${url}/metrics`)).text();
      const line = text.split('\n').find((each) => each.startsWith(`mamba2:${name}{`));
      return Number(line?.split(' ').at(-1));
    };
    return { process: child, ended, log, post, metric };
  }

  /** All states that a replica has to put are in the store. */
  const settled = (one: Replica) =>
    until('states are put', async () => (await one.metric('state_store_pending_puts')) === 0, 60);

  /** A conversation whose turns go to the replicas in turn; → answers, and tokens computed for each. */
  async function converse(replicas: readonly Replica[], name: string, isShared = true, turns = 6) {
    const messages = [{ role: 'user', content: `// ${name}\n${FILLER}export interface Thing {` }];
    const answers: (ChatAnswer & { readonly computed: number })[] = [];
    for (let turn = 0; turn < turns; turn++) {
      const answered = replicas[turn % replicas.length];
      const answer = await answered.post({ messages });
      answers.push({ ...answer, computed: answer.promptTokens - answer.cachedTokens });
      messages.push(
        { role: 'assistant', content: answer.text },
        { role: 'user', content: `export type More${turn} = ` },
      );
      if (isShared) await settled(answered);
    }
    return answers;
  }

  test('give in turn the texts of one, and compute only what is new', async () => {
    const alone = await replica([], '');
    const expected = await converse([alone], 'a', false);
    const replicas = [await replica(), await replica()];
    const answers = await converse(replicas, 'a');
    expect(answers.map(({ text }) => text)).toEqual(expected.map(({ text }) => text));
    // The replicas' prefix caches alone would have known every second turn only.
    for (const [turn, { computed }] of answers.entries())
      expect([turn, computed]).toEqual([turn, expected[turn].computed]);
    expect(await replicas[1].metric('state_store_hits_total')).toBeGreaterThan(0);
    expect(await replicas[1].metric('state_store_read_bytes_total')).toBeGreaterThan(1e6);
    expect(await replicas[1].metric('state_store_get_seconds_count')).toBeGreaterThan(0);
    expect(await replicas[0].metric('state_store_failures_total')).toBe(0);
  });

  test('put what waits when they get SIGTERM', async () => {
    const client = await createClient({ url: redis.url }).connect();
    onTestFinished(() => client.destroy());
    await client.flushAll();
    const one = await replica();
    await one.post({ messages: [{ role: 'user', content: `// end\n${FILLER}` }] });
    one.process.kill('SIGTERM');
    expect(await one.ended).toBe(0);
    expect((await client.keys('*state:*')).length).toBe(2);
  });

  test('answer as ever when values are poisoned', async () => {
    const client = await createClient({ url: redis.url }).connect();
    onTestFinished(() => client.destroy());
    await client.flushAll();
    const messages = [{ role: 'user', content: `// poison\n${FILLER}` }];
    const one = await replica();
    const { text } = await one.post({ messages });
    await settled(one);
    const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    const keys = await client.keys('*state:*');
    const values = await Promise.all(keys.map((key) => bytes.get(key)));
    const poisons = [
      (value: Buffer) => value.subarray(0, 1000),
      (value: Buffer) => Buffer.concat([value.subarray(0, 5000), Buffer.of(value[5000] ^ 4), value.subarray(5001)]),
      (_: Buffer, i: number) => values[(i + 1) % values.length] ?? Buffer.of(),
    ];
    for (const poison of poisons) {
      for (const [i, key] of keys.entries()) await client.set(key, poison(values[i] ?? Buffer.of(), i));
      const other = await replica();
      const answer = await other.post({ messages });
      expect(answer).toEqual({ text, promptTokens: answer.promptTokens, cachedTokens: 0 });
      expect(await other.metric('state_store_damaged_total')).toBeGreaterThan(0);
      other.process.kill('SIGKILL');
    }
  });

  test('keep keys of the API, salts and dtypes apart', async () => {
    const args = ['--api-key', 'A', '--api-key', 'B'];
    const messages = [{ role: 'user', content: `// tenants\n${FILLER}` }];
    const one = await replica(args);
    expect((await one.post({ messages }, 'A')).cachedTokens).toBe(0);
    expect((await one.post({ messages, cache_salt: 'salt' }, 'A')).cachedTokens).toBe(0);
    await one.process.kill('SIGTERM');
    await one.ended;
    const other = await replica(args);
    expect((await other.post({ messages }, 'B')).cachedTokens).toBe(0);
    expect((await other.post({ messages, cache_salt: 'salt' }, 'B')).cachedTokens).toBe(0);
    expect((await other.post({ messages }, 'A')).cachedTokens).toBeGreaterThan(100);
    expect((await other.post({ messages, cache_salt: 'salt' }, 'A')).cachedTokens).toBeGreaterThan(100);
    const third = await replica([...args, '--dtype', 'int8']);
    expect((await third.post({ messages }, 'A')).cachedTokens).toBe(0);
  });

  test('lose nothing when the store is killed under load, and use it when it is back', async () => {
    const own = await startRedis(REDIS ?? '');
    onTestFinished(() => own.close());
    const replicas = [await replica([], own.url), await replica([], own.url)];
    const alone = await replica([], '');
    let isOver = false;
    let answers = 0;
    const client = async (number: number) => {
      const texts: (readonly [string, string])[] = [];
      for (let i = 0; !isOver; i++) {
        const messages = [{ role: 'user', content: `// ${number}\n${FILLER}export type T${i} = ` }];
        texts.push([messages[0].content, (await replicas[(number + i) % 2].post({ messages })).text]);
        answers++;
      }
      return texts;
    };
    const clients = Array.from({ length: 4 }, (_, number) => client(number));
    await until('some answers', () => answers >= 8, 120);
    own.process.kill('SIGKILL');
    const before = answers;
    await until('further answers', () => answers >= before + 8, 120);
    const [, port] = /:(\d+)$/.exec(own.url) ?? [];
    const back = await startRedis(REDIS ?? '', { port: Number(port) });
    onTestFinished(() => back.close());
    isOver = true;
    const all = (await Promise.all(clients)).flat();
    // Each as one machine alone answers.
    for (const [content, text] of all.slice(-4)) {
      expect((await alone.post({ messages: [{ role: 'user', content }] })).text).toBe(text);
    }
    expect(replicas.flatMap(({ log }) => log).some(({ msg }) => msg === 'the store of states failed')).toBe(true);
    let tries = 0;
    await until(
      'states are put again',
      async () => {
        const puts = await replicas[0].metric('state_store_puts_total');
        await replicas[0].post({ messages: [{ role: 'user', content: `// again ${tries++}\n${FILLER}` }] });
        await settled(replicas[0]);
        return (await replicas[0].metric('state_store_puts_total')) > puts;
      },
      120,
    );
  });

  test('answer while the store hangs', async () => {
    const own = await startRedis(REDIS ?? '');
    onTestFinished(() => own.close());
    const one = await replica([], own.url);
    const messages = [{ role: 'user', content: `// hangs\n${FILLER}` }];
    const { text } = await one.post({ messages });
    await settled(one);
    own.process.kill('SIGSTOP');
    const other = await replica([], own.url);
    expect((await other.post({ messages })).text).toBe(text);
    expect((await one.post({ messages: [...messages, { role: 'assistant', content: text }] })).text).toBeDefined();
    own.process.kill('SIGCONT');
  });
});
