import { mkdtemp, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from 'redis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openStateStore } from '../../../src/engine/store/homes/open-state-store.ts';
import { opfsStateStore } from '../../../src/engine/store/homes/opfs-store.ts';
import { MAX_NAMES, type StateStore } from '../../../src/engine/store/homes/state-store.ts';
import { ArgumentError } from '../../../src/errors.ts';
import { need } from '../../needs/needs.ts';
import { MemoryDirectory } from './opfs-folder.ts';
import { type RedisServer, startRedis } from './redis-server.ts';
import { type S3Server, startS3 } from './s3-server.ts';

const REDIS = need('redis');

const bytes = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => i * 31 + seed);

/** A folder that is removed after the test. */
async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mamba2-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Once connected: until then a store of Redis refuses. */
async function connected(store: StateStore): Promise<StateStore> {
  for (;;) {
    try {
      await store.list(['x']);
      return store;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** Homes, each with what opens one with nothing in it. */
const HOMES: readonly { readonly name: string; readonly skip?: boolean; readonly open: () => Promise<StateStore> }[] = [
  { name: 'a folder', open: async () => openStateStore(`file://${await temporaryFolder()}/states`) },
  {
    name: "a browser's folder",
    open: async () => opfsStateStore(new MemoryDirectory() as unknown as FileSystemDirectoryHandle, 1e9),
  },
  {
    name: 'Redis',
    skip: REDIS === undefined,
    open: async () => {
      const server = await startRedis(REDIS ?? '');
      onTestFinished(() => server.close());
      return connected(await openStateStore(server.url));
    },
  },
  {
    name: 'S3',
    open: async () => {
      const server = await startS3('states');
      onTestFinished(() => server.close());
      return openStateStore(`s3://key:secret@states/some/prefix?endpoint=${server.url}`);
    },
  },
];

describe.each(HOMES)('a store in $name', ({ open, skip = false }) => {
  test.skipIf(skip)('gives what was put, under its key and at its place', async () => {
    const store = await open();
    onTestFinished(() => store.close());
    expect(await store.list(['a', 'b'])).toEqual([[], []]);
    expect(await store.get(['a/1'])).toEqual([undefined]);
    expect(await store.touch(['a/1'])).toEqual([false]);
    await store.put('a/1', bytes(10));
    await store.put('a/2', bytes(70_000, 1));
    await store.put('b/1', bytes(0));
    const [a, b, c] = await store.list(['a', 'b', 'c']);
    expect([a.toSorted(), b, c]).toEqual([['1', '2'], ['1'], []]);
    const values = await store.get(['b/1', 'a/2', 'c/1', 'a/1']);
    expect(values.map((value) => value && [...value])).toEqual([[], [...bytes(70_000, 1)], undefined, [...bytes(10)]]);
    expect(await store.touch(['a/1', 'c/1', 'b/1'])).toEqual([true, false, true]);
    await store.put('a/1', bytes(5, 3));
    expect((await store.get(['a/1']))[0]).toEqual(expect.objectContaining({ length: 5 }));
    expect(await store.get([])).toEqual([]);
    expect(await store.list([])).toEqual([]);
  });

  test.skipIf(skip)('takes calls at the same time, and views of larger arrays', async () => {
    const store = await open();
    onTestFinished(() => store.close());
    const all = bytes(1000);
    const keys = Array.from({ length: 30 }, (_, i) => `p${i % 3}/n${i}`);
    await Promise.all(keys.map((key, i) => store.put(key, all.subarray(i, i + 33))));
    const values = await store.get(keys);
    for (const [i, value] of values.entries()) expect([...(value ?? [])]).toEqual([...all.subarray(i, i + 33)]);
    expect((await store.list(['p0', 'p1', 'p2'])).map(({ length }) => length)).toEqual([10, 10, 10]);
  });
});

describe('a store in a folder', () => {
  test('leaves nothing of what was not written whole, and removes what was used least recently', async () => {
    const folder = await temporaryFolder();
    const store = await openStateStore(`file://${folder}?max-bytes=1000`);
    await store.put('a/1', bytes(400));
    await store.put('b/1', bytes(400));
    const old = new Date(Date.now() - 1e6);
    await utimes(join(folder, 'a/1'), old, old);
    await store.put('c/1', bytes(400));
    expect((await store.get(['a/1', 'b/1', 'c/1'])).map((value) => value?.length)).toEqual([undefined, 400, 400]);
    await expect(store.put('d/1', bytes(9), AbortSignal.abort())).rejects.toThrow();
    expect(await readdir(join(folder, 'd'))).toEqual([]);
    expect([...(await readFile(join(folder, 'c/1')))]).toEqual([...bytes(400)]);
  });
});

describe.skipIf(REDIS === undefined)('a store in Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis(REDIS ?? '', { args: ['--requirepass', 'secret', '--maxmemory', '20mb'] });
  });
  afterAll(() => server.close());

  const url = (more = '', password = 'secret') => `${server.url.replace('//', `//:${password}@`)}${more}`;

  test('lives as long as it is used, under a prefix, in a database', async () => {
    const store = await connected(await openStateStore(url('/3?ttl=100&prefix=mine:')));
    onTestFinished(() => store.close());
    await store.put('a/1', bytes(5));
    const client = await createClient({ url: url('/3') }).connect();
    onTestFinished(() => client.destroy());
    expect((await client.keys('*')).toSorted()).toEqual(['mine:place:a', 'mine:state:a/1']);
    for (const key of await client.keys('*')) expect(await client.ttl(key)).toBeGreaterThan(90);
    await client.expire('mine:state:a/1', 5);
    await store.touch(['a/1']);
    expect(await client.ttl('mine:state:a/1')).toBeGreaterThan(90);
    // A value that went by itself takes its name along.
    await client.del('mine:state:a/1');
    expect(await store.get(['a/1'])).toEqual([undefined]);
    await expect.poll(() => store.list(['a'])).toEqual([[]]);
  });

  test('lists the newest names of a crowded place', async () => {
    const store = await connected(await openStateStore(url('/4')));
    onTestFinished(() => store.close());
    for (let begin = 0; begin < MAX_NAMES + 50; begin += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, i) => store.put(`p/n${begin + i}`, bytes(1))));
    }
    const [names] = await store.list(['p']);
    expect(names).toHaveLength(MAX_NAMES);
  });

  test('says that it is full, and can be read all the same', async () => {
    const store = await connected(await openStateStore(url('/5')));
    onTestFinished(() => store.close());
    await store.put('a/1', bytes(9));
    await expect(
      (async () => {
        for (let i = 0; i < 30; i++) await store.put(`b/${i}`, new Uint8Array(2 ** 20));
      })(),
    ).rejects.toThrow(/OOM/);
    expect((await store.get(['a/1']))[0]?.length).toBe(9);
  });

  test('refuses while it is not connected, and works when it is', async () => {
    const wrong = await openStateStore(url('', 'wrong'));
    onTestFinished(() => wrong.close());
    await expect(wrong.list(['a'])).rejects.toThrow();
    const [, port] = /:(\d+)$/.exec(server.url) ?? [];
    await server.close();
    const store = await openStateStore(server.url);
    onTestFinished(() => store.close());
    await expect(store.put('a/1', bytes(1))).rejects.toThrow();
    server = await startRedis(REDIS ?? '', { port: Number(port) });
    await connected(store);
    await store.put('a/1', bytes(3));
    expect((await store.get(['a/1']))[0]?.length).toBe(3);
  });
});

describe('a store in S3', () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3('states');
  });
  afterAll(() => server.close());

  test('asks for objects below its prefix, in signed requests', async () => {
    const store = await openStateStore(`s3://key:secret@states/some/prefix?endpoint=${server.url}&region=eu-west-9`);
    onTestFinished(() => store.close());
    await store.put('a/1', bytes(5));
    expect([...server.objects]).toEqual([['some/prefix/a/1', Buffer.from(bytes(5))]]);
    expect(server.headers().authorization).toMatch(/Credential=key\/\d+\/eu-west-9\/s3/);
    // Nothing that only some stores know.
    expect(Object.keys(server.headers()).filter((name) => /checksum|trailer/.test(name))).toEqual([]);
    server.requests.length = 0;
    await store.get(['a/1', 'a/2']);
    await store.touch(['a/1']);
    await store.list(['a']);
    expect(server.requests.map((line) => line.replace(/[?&](x-id|list-type)=[^&]*/g, ''))).toEqual([
      'GET /states/some/prefix/a/1',
      'GET /states/some/prefix/a/2',
      'HEAD /states/some/prefix/a/1',
      expect.stringMatching(/^GET \/states\/?.*max-keys=1000&prefix=some%2Fprefix%2Fa%2F$/),
    ]);
  });

  test('tells a failure from a value that is not there', async () => {
    const store = await openStateStore(`s3://key:secret@states?endpoint=${server.url}`);
    onTestFinished(() => store.close());
    server.status = 503;
    onTestFinished(() => {
      server.status = undefined;
    });
    await expect(store.get(['a/1'])).rejects.toThrow();
    await expect(store.touch(['a/1'])).rejects.toThrow();
    await expect(store.get(['a/1'], AbortSignal.abort())).rejects.toThrow();
  });
});

test.each([
  ['no URL', 'redis', /not a URL.*redis:\/\/host/],
  ['an unknown scheme', 'http://host', /no state store at 'http:'/],
  ['no time to live', 'redis://host?ttl=0', /ttl is 0/],
  ['no size', 'file:///tmp?max-bytes=-1', /max-bytes is -1/],
  ['no folder', 'file:', /folder is empty/],
  ['an encoded slash', 'file:///a%2Fb', /names no folder.*encoded/],
  ['a database that is none', 'redis://host/name', /not one of Redis/],
])('a location with %s is refused', async (_, location, message) => {
  const opened = openStateStore(location);
  await expect(opened).rejects.toThrow(ArgumentError);
  await expect(opened).rejects.toThrow(message);
});
