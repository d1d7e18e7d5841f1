import { readFile } from 'node:fs/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import type { UrlOptions } from '../../src/checkpoint/files/url-files.ts';
import type { ProgressEvent } from '../../src/checkpoint/net/progress.ts';
import { openModelFiles } from '../../src/checkpoint/open-model-files.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { DisposedError, DownloadError, Mamba2Error, ModelNotFoundError } from '../../src/errors.ts';
import { StaticServer, type StaticServerOptions } from '../static-server.ts';
import { type Files, makeFolder } from './folders.ts';

const WEIGHTS = '/m/model.safetensors';
const INDEX = 'model.safetensors.index.json';
const values = (length: number, first: number) => Float32Array.from({ length }, (_, i) => first + i);
/** Larger than the head that is fetched first, with tensors smaller and larger than what is fetched ahead. */
const TENSORS = ['a', 'b', 'c', 'd', 'e', 'f'].map((name, i) => ({
  name,
  dtype: 'F32' as const,
  shape: [[10, 1_400_000, 3, 700_001, 1_000_000, 5][i]],
  data: values([10, 1_400_000, 3, 700_001, 1_000_000, 5][i], i),
}));
const MODEL: Files = { 'config.json': { model_type: 'mamba2' }, 'model.safetensors': writeSafetensors(TENSORS) };

/** vitest compares millions of numbers one by one. */
function isSame(found: Float32Array, expected: Float32Array): boolean {
  return Buffer.from(found.buffer, found.byteOffset, found.byteLength).equals(Buffer.from(expected.buffer));
}

async function serve(files: Files, options: StaticServerOptions = {}): Promise<StaticServer> {
  const server = await StaticServer.start({ folders: { '/m/': await makeFolder(files) }, ...options });
  onTestFinished(() => server.close());
  return server;
}

async function open(server: StaticServer, options: UrlOptions = {}): Promise<Checkpoint> {
  const checkpoint = await Checkpoint.open(await openModelFiles(`${server.origin}/m`, { retryDelay: 1, ...options }));
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

function bytesAskedFor(server: StaticServer): number {
  return server.requests
    .filter(({ path }) => path === WEIGHTS)
    .map(({ range }) => /^bytes=(\d+)-(\d+)$/.exec(range ?? ''))
    .reduce((sum, match) => sum + (match ? Number(match[2]) - Number(match[1]) + 1 : 0), 0);
}

describe.each([true, false])('a model at a URL, ranges given: %s', (ranges) => {
  test('reads the same tensors as from a folder, forwards and backwards', async () => {
    const checkpoint = await open(await serve(MODEL, { ranges }));
    expect(checkpoint.names()).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    for (const { name, data } of [...TENSORS, ...TENSORS.toReversed()]) {
      expect(isSame(await checkpoint.readFloat32(name), data), name).toBe(true);
    }
    expect(await checkpoint.readFloat32('d', { firstRow: 5, rows: 3 })).toEqual(Float32Array.of(8, 9, 10));
  });

  test('reads tensors asked for at once', async () => {
    const checkpoint = await open(await serve(MODEL, { ranges }));
    const read = await Promise.all(TENSORS.map(({ name }) => checkpoint.readFloat32(name)));
    expect(read.map((data, i) => isSame(data, TENSORS[i].data))).toEqual(TENSORS.map(() => true));
  });

  test('asks for every byte once, and reports them', async () => {
    const server = await serve(MODEL, { ranges });
    const events: ProgressEvent[] = [];
    const checkpoint = await open(server, { name: 'mine', onProgress: (event) => events.push(event) });
    for (const { name } of TENSORS) await checkpoint.readFloat32(name);
    const size = (MODEL['model.safetensors'] as Uint8Array).length;
    const requests = server.requests.filter(({ path }) => path === WEIGHTS);
    if (ranges) expect(bytesAskedFor(server)).toBeLessThan(size + 2 ** 18);
    else expect(requests).toHaveLength(1);
    expect(requests.length).toBeLessThanOrEqual(TENSORS.length + 1);
    const own = events.filter(({ file }) => file === 'model.safetensors');
    expect(own.slice(0, 2).map(({ status }) => status)).toEqual(['initiate', 'download']);
    expect(own.at(-1)).toEqual({
      status: 'done',
      name: 'mine',
      file: 'model.safetensors',
      loaded: size,
      total: size,
      progress: 100,
    });
    const loaded = own.slice(2).map((event) => event.loaded ?? 0);
    expect(loaded).toEqual(loaded.toSorted((a, b) => a - b));
  });

  test('continues after lost connections and answers that say "later"', async () => {
    const server = await serve(MODEL, { ranges });
    server.faults.set('/m/config.json', [503, 429]);
    server.faults.set(WEIGHTS, [500]);
    const checkpoint = await open(server);
    server.drops.set(WEIGHTS, 2_000_000);
    for (const { name, data } of TENSORS) {
      expect(await checkpoint.readFloat32(name)).toEqual(data);
      if (!server.drops.has(WEIGHTS)) server.drops.set(WEIGHTS, 100_000);
    }
  });

  test('takes more shards than a host takes connections', async () => {
    const files: Record<string, unknown> = { 'config.json': {} };
    const weight_map: Record<string, string> = {};
    for (let i = 0; i < 10; i++) {
      const data = values(100_000, i);
      files[`model-${i}.safetensors`] = writeSafetensors([{ name: `t${i}`, dtype: 'F32', shape: [data.length], data }]);
      weight_map[`t${i}`] = `model-${i}.safetensors`;
    }
    files[INDEX] = { weight_map };
    const checkpoint = await open(await serve(files, { ranges }));
    for (const name of checkpoint.names()) expect((await checkpoint.readFloat32(name))[1]).toBe(Number(name[1]) + 1);
  });

  test('ends with the reason of the signal', async () => {
    const server = await serve(MODEL, { ranges, pieceBytes: 10_000 });
    const abort = new AbortController();
    const checkpoint = await open(server, { signal: abort.signal });
    const read = checkpoint.readFloat32('b');
    setTimeout(() => abort.abort('enough'), 20);
    await expect(read).rejects.toBe('enough');
  });

  test('reads nothing after it was closed', async () => {
    const checkpoint = await open(await serve(MODEL, { ranges }));
    await checkpoint.close();
    await expect(checkpoint.readFloat32('a')).rejects.toThrow(DisposedError);
    await expect(checkpoint.files.readText('config.json')).rejects.toThrow(DisposedError);
  });
});

describe('a URL without a model', () => {
  const failure = (server: StaticServer, path = '/m/') =>
    Checkpoint.open(`${server.origin}${path}`).catch((error: unknown) => error as Mamba2Error);

  test('is named', async () => {
    const error = await failure(await serve({}), '/nowhere');
    expect(error).toBeInstanceOf(ModelNotFoundError);
    expect((error as Error).message).toMatch(/127\.0\.0\.1:\d+\/nowhere\/' holds no config\.json/);
  });

  test('is recognised where the server answers every path with its page', async () => {
    const fallback = { content: '<!doctype html>', contentType: 'text/html' };
    expect(await failure(await serve({}, { fallback }))).toBeInstanceOf(ModelNotFoundError);
    const optional = await Checkpoint.open(`${(await serve(MODEL, { fallback })).origin}/m/`);
    expect(optional.generationConfig).toBeUndefined();
    await optional.close();
  });

  test('has no weights', async () => {
    expect(await failure(await serve({ 'config.json': {} }))).toMatchObject({ message: /holds no weights/ });
    const files = { 'config.json': {}, [INDEX]: { weight_map: { t: 'model-1.safetensors' } } };
    expect(await failure(await serve(files))).toMatchObject({ message: /lacks 1 of 1 shards: model-1/ });
  });

  test('is refused', async () => {
    const server = await serve(MODEL);
    server.faults.set('/m/config.json', [403]);
    expect(await failure(server)).toMatchObject({ code: 'download_failed', message: /answered 403 .*token/ });
  });

  test("can't be reached", async () => {
    const server = await serve(MODEL);
    const { origin } = server;
    await server.close();
    const error = await openModelFiles(origin, { retryDelay: 1 }).then((files) =>
      files.readText('config.json').catch((thrown: unknown) => thrown),
    );
    expect(error).toBeInstanceOf(DownloadError);
    expect((error as Error).message).toMatch(/could not be fetched: .*ECONNREFUSED/);
  });

  test('holds an empty weights file', async () => {
    const error = await failure(await serve({ ...MODEL, 'model.safetensors': new Uint8Array() }));
    expect(error).toBeInstanceOf(Mamba2Error);
    expect((error as Mamba2Error).code).toBe('bad_safetensors');
  });
});

test('a token and the query go with every request', async () => {
  const server = await serve(MODEL);
  const files = await openModelFiles(`${server.origin}/m/?key=1`, { token: 'secret' });
  expect(files.nameOf('a b.json')).toBe(`${server.origin}/m/a%20b.json?key=1`);
  expect(await files.readText('config.json')).toBe(await readFileText());
  expect(server.requests.map(({ authorization }) => authorization)).toEqual(['Bearer secret']);
  await files.close();
});

async function readFileText(): Promise<string> {
  return readFile(`${await makeFolder(MODEL)}/config.json`, 'utf8');
}
