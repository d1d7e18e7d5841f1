import { lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { type HubOptions, resolveHubModel } from '../../src/checkpoint/hub/hub-cache.ts';
import type { ProgressEvent } from '../../src/checkpoint/net/progress.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { ArgumentError, DownloadError, JsonFileError, ModelNotFoundError, OfflineError } from '../../src/errors.ts';
import { makeFolder } from './folders.ts';
import { COMMIT, MockHub } from './mock-hub.ts';

const WEIGHTS = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const weights = (name: string, size = 50_000) =>
  writeSafetensors([{ name, dtype: 'F32', shape: [size], data: Float32Array.from({ length: size }, (_, i) => i) }]);
const MODEL = {
  'config.json': '{"model_type": "mamba2"}',
  'tokenizer.json': '{}',
  'README.md': 'not needed',
  'consolidated.safetensors': 'not needed',
  'pytorch_model.bin': 'not needed',
  [WEIGHTS]: weights('a'),
};

let cacheDir: string;
let repo: string;

beforeEach(async () => {
  cacheDir = await makeFolder();
  repo = join(cacheDir, 'models--org--name');
  // The machine's own settings must not reach the tests, nor its token the mock.
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HF_ENDPOINT']) vi.stubEnv(name, '');
  vi.stubEnv('HF_HOME', join(cacheDir, 'home'));
});
afterEach(() => {
  vi.unstubAllEnvs();
});

function resolve(hub: MockHub, options: HubOptions = {}): Promise<string> {
  return resolveHubModel('org/name', { endpoint: hub.endpoint, cacheDir, retryDelay: 1, ...options });
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Error)) throw new Error(`expected a rejection, got ${String(error)}`);
  return error;
}

describe('fetching', () => {
  test('lays the cache out as Python does and fetches only what is needed', async () => {
    const hub = await MockHub.start(MODEL);
    const folder = await resolve(hub);
    expect(folder).toBe(join(repo, 'snapshots', COMMIT));
    expect((await readdir(folder)).sort()).toEqual(['config.json', WEIGHTS, 'tokenizer.json']);
    expect(await readlink(join(folder, WEIGHTS))).toBe(join('..', '..', 'blobs', hub.etag(WEIGHTS)));
    expect(await readFile(join(folder, WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
    expect(await readFile(join(repo, 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect((await readdir(join(repo, 'blobs'))).filter((name) => name.includes('.'))).toEqual([]);
    const checkpoint = await Checkpoint.open(folder);
    expect(checkpoint.names()).toEqual(['a']);
    await checkpoint.close();
  });

  test('fetches nothing twice, and only what changed', async () => {
    const hub = await MockHub.start(MODEL);
    await resolve(hub);
    const count = hub.requests.length;
    await resolve(hub);
    expect(hub.requests).toHaveLength(count);
    hub.commit = 'd'.repeat(40);
    hub.add('config.json', '{"model_type": "mamba2", "new": true}');
    const folder = await resolve(hub);
    expect(hub.requests.slice(count).map(({ file }) => file)).toEqual(['config.json']);
    expect(await readFile(join(folder, 'config.json'), 'utf8')).toContain('new');
    expect(await readFile(join(repo, 'refs', 'main'), 'utf8')).toBe(hub.commit);
    await rm(join(repo, 'blobs', hub.etag(WEIGHTS)));
    await resolve(hub);
    expect(await readFile(join(folder, WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
  });

  test('fetches the shards of an index, without consolidated duplicates', async () => {
    const hub = await MockHub.start({
      ...MODEL,
      's1.safetensors': weights('a', 3),
      's2.safetensors': weights('b', 3),
      [INDEX]: JSON.stringify({ weight_map: { a: 's1.safetensors', b: 's2.safetensors' } }),
    });
    hub.files.delete(WEIGHTS);
    const folder = await resolve(hub);
    expect((await readdir(folder)).sort()).toEqual(
      ['config.json', INDEX, 's1.safetensors', 's2.safetensors', 'tokenizer.json'].sort(),
    );
    hub.files.delete('s2.safetensors');
    expect(await failure(resolve(hub))).toMatchObject({
      name: 'DownloadError',
      message: expect.stringMatching(/lacks 's2\.safetensors'/),
    });
  });

  test('takes a single safetensors file of another name', async () => {
    const hub = await MockHub.start({ 'config.json': '{}', 'consolidated.safetensors': weights('a', 2) });
    expect(await readdir(await resolve(hub))).toContain('consolidated.safetensors');
    hub.files.delete('consolidated.safetensors');
    expect(await failure(resolve(hub))).toBeInstanceOf(ModelNotFoundError);
  });

  test('never leaves its folder', async () => {
    const outside = { weight_map: { a: '../../../x.safetensors' } };
    const hub = await MockHub.start({ 'config.json': '{}', [INDEX]: JSON.stringify(outside) });
    hub.add('../../../x.safetensors', 'evil');
    expect(await failure(resolve(hub))).toBeInstanceOf(JsonFileError);
    hub.files.delete(INDEX);
    expect(await failure(resolve(hub))).toBeInstanceOf(ModelNotFoundError);
    expect(hub.requestsOf('../../../x.safetensors')).toEqual([]);
  });

  test('resolves revisions', async () => {
    const hub = await MockHub.start(MODEL);
    for (const revision of ['v1', 'refs/pr/1']) {
      await resolve(hub, { revision });
      expect(await readFile(join(repo, 'refs', revision), 'utf8')).toBe(COMMIT);
    }
    await resolve(hub, { revision: COMMIT });
    expect(await readdir(join(repo, 'refs'))).not.toContain(COMMIT);
    expect(await failure(resolve(hub, { revision: 'v2' }))).toMatchObject({
      name: 'ModelNotFoundError',
      message: expect.stringMatching(/'v2'/),
    });
    for (const revision of ['../x', 'a/../b', '', 'a b', '/x']) {
      expect(await failure(resolve(hub, { revision }))).toBeInstanceOf(ArgumentError);
    }
  });

  test('reports progress', async () => {
    const hub = await MockHub.start(MODEL);
    const events: ProgressEvent[] = [];
    await resolve(hub, { onProgress: (event) => events.push(event) });
    const own = events.filter(({ file }) => file === WEIGHTS);
    const total = hub.files.get(WEIGHTS)?.length ?? 0;
    expect(own.map(({ status }) => status).filter((status, i, all) => status !== all[i - 1])).toEqual([
      'initiate',
      'download',
      'progress',
      'done',
    ]);
    const loaded = own.filter(({ status }) => status === 'progress').map((event) => event.loaded ?? 0);
    expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
    expect(own.at(-2)).toEqual({
      status: 'progress',
      name: 'org/name',
      file: WEIGHTS,
      loaded: total,
      total,
      progress: 100,
    });
    events.length = 0;
    await resolve(hub, { onProgress: (event) => events.push(event) });
    expect(new Set(events.map(({ status }) => status))).toEqual(new Set(['initiate', 'done']));
  });

  test('copies where links are not allowed', async () => {
    const hub = await MockHub.start(MODEL);
    const { HubLayout } = await import('../../src/checkpoint/hub/hub-layout.ts');
    await resolve(hub);
    const layout = new HubLayout('org/name', cacheDir);
    const fs = await import('node:fs/promises');
    const link = vi.spyOn(fs.default, 'symlink').mockRejectedValue(new Error('EPERM'));
    syncBuiltinESMExports();
    await layout.link(COMMIT, 'copy.json', hub.etag('config.json'));
    link.mockRestore();
    syncBuiltinESMExports();
    const copy = await lstat(join(repo, 'snapshots', COMMIT, 'copy.json'));
    expect(copy.isFile()).toBe(true);
    expect(await readFile(join(repo, 'snapshots', COMMIT, 'copy.json'), 'utf8')).toBe(MODEL['config.json']);
  });
});

describe('tokens', () => {
  test('come from the option, HF_TOKEN or the saved file', async () => {
    const hub = await MockHub.start(MODEL);
    await mkdir(join(cacheDir, 'home'));
    await writeFile(join(cacheDir, 'home', 'token'), 'saved\n');
    const tokenOf = async (options: HubOptions = {}) => {
      await rm(repo, { recursive: true, force: true });
      await resolve(hub, options);
      return hub.requests.at(-1)?.authorization;
    };
    expect(await tokenOf({ token: 'given' })).toBe('Bearer given');
    expect(await tokenOf()).toBeUndefined();
    vi.stubEnv('HF_TOKEN', 'env');
    expect(await tokenOf()).toBe('Bearer env');
    vi.stubEnv('HF_TOKEN', undefined);
    expect(await tokenOf()).toBe('Bearer saved');
  });

  test.each([
    [401, /private, gated, or does not exist.*HF_TOKEN/],
    [403, /accept its licence at http:.*org\/name.*HF_TOKEN/],
  ])('are asked for on status %i', async (status, message) => {
    const hub = await MockHub.start(MODEL);
    hub.apiStatuses.push(status);
    expect(await failure(resolve(hub))).toMatchObject({
      name: 'DownloadError',
      message: expect.stringMatching(message),
    });
    hub.faults.set(WEIGHTS, [{ status }]);
    expect(await failure(resolve(hub))).toMatchObject({
      name: 'DownloadError',
      message: expect.stringMatching(message),
    });
    expect(hub.requestsOf(WEIGHTS)).toHaveLength(1);
  });
});

test('sends no token to another host', async () => {
  const hub = await MockHub.start(MODEL);
  const seen: (string | null)[] = [];
  const proxy: typeof fetch = async (input, init) => {
    const url = String(input);
    const headers = new Headers(init?.headers);
    if (url.startsWith('https://other.example/')) {
      seen.push(headers.get('authorization'));
      return Response.json([]);
    }
    const response = await fetch(input, init);
    if (!url.includes('/tree/')) return response;
    seen.push(headers.get('authorization'));
    return Response.json(await response.json(), { headers: { link: '<https://other.example/next>; rel="next"' } });
  };
  await resolve(hub, { fetch: proxy, token: 'secret' });
  expect(seen).toEqual(['Bearer secret', null]);
});

describe('names', () => {
  test('must be org/name', async () => {
    const hub = await MockHub.start(MODEL);
    const names = ['name', 'a/b/c', '../x', 'a/..', 'a/.b', 'a/b.git', 'a b/c', '', '/x', 'a/b--c', 'a\\b/c'];
    for (const name of names) {
      const error = await failure(resolveHubModel(name, { endpoint: hub.endpoint, cacheDir }));
      expect(error).toBeInstanceOf(ModelNotFoundError);
    }
    expect(await failure(resolveHubModel('org/other', { endpoint: hub.endpoint, cacheDir }))).toMatchObject({
      name: 'ModelNotFoundError',
      message: expect.stringMatching(/404 for revision 'main' of 'org\/other'/),
    });
    expect(await failure(resolve(hub, { endpoint: 'file:///x' }))).toBeInstanceOf(ArgumentError);
  });
});

describe('broken downloads', () => {
  const partialOf = (hub: MockHub) => join(repo, 'blobs', `${hub.etag(WEIGHTS)}.incomplete`);

  test('resume after dropped connections', async () => {
    const hub = await MockHub.start(MODEL);
    hub.faults.set(WEIGHTS, [{ dropAfter: 70_000 }, { status: 503 }, { dropAfter: 60_000 }, { status: 429 }]);
    const folder = await resolve(hub);
    expect(await readFile(join(folder, WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
    const ranges = hub.requestsOf(WEIGHTS).map(({ range }) => range);
    expect(ranges).toEqual([undefined, 'bytes=70000-', 'bytes=70000-', 'bytes=130000-', 'bytes=130000-']);
  });

  test('resume what an earlier process left', async () => {
    const hub = await MockHub.start(MODEL);
    await mkdir(dirname(partialOf(hub)), { recursive: true });
    await writeFile(partialOf(hub), MODEL[WEIGHTS].slice(0, 1234));
    await resolve(hub);
    expect(hub.requestsOf(WEIGHTS).map(({ range }) => range)).toEqual(['bytes=1234-']);
  });

  test.each([
    ['ignores ranges', { ignoreRange: true }, 1],
    ['sends another range', { wrongRange: true }, 2],
    ['can not satisfy the range', { status: 416 }, 2],
  ])('start again when the server %s', async (_, fault, requests) => {
    const hub = await MockHub.start(MODEL);
    hub.faults.set(WEIGHTS, [fault]);
    await mkdir(dirname(partialOf(hub)), { recursive: true });
    await writeFile(partialOf(hub), 'something else');
    const folder = await resolve(hub);
    expect(await readFile(join(folder, WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
    expect(hub.requestsOf(WEIGHTS)).toHaveLength(requests);
  });

  test.each([
    ['of other content', (size: number) => Buffer.alloc(Math.floor(size / 2), 1)],
    ['of the right size', (size: number) => Buffer.alloc(size, 1)],
    ['that is too long', (size: number) => Buffer.alloc(size + 9, 1)],
  ])('start again from a part %s', async (_, make) => {
    const hub = await MockHub.start(MODEL);
    await mkdir(dirname(partialOf(hub)), { recursive: true });
    await writeFile(partialOf(hub), make(MODEL[WEIGHTS].length));
    const folder = await resolve(hub);
    expect(await readFile(join(folder, WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
  });

  test.each([WEIGHTS, 'config.json'])('never publish wrong content of %s', async (file) => {
    const hub = await MockHub.start(MODEL);
    const content = Buffer.from(hub.files.get(file) ?? '').fill(7, 3);
    hub.faults.set(file, [{ content }, { content }]);
    const error = await failure(resolve(hub));
    expect(error).toMatchObject({
      name: 'DownloadError',
      message: expect.stringMatching(/arrived damaged: its hash is/),
    });
    expect(await lstat(join(repo, 'snapshots', COMMIT, file)).catch(() => 'none')).toBe('none');
    await resolve(hub);
  });

  test.each([
    ['longer', Buffer.alloc(300_000), /sent more than/],
    ['shorter', Buffer.alloc(10), /ended after 10 of/],
  ])('reject content that is %s', async (_, content, message) => {
    const hub = await MockHub.start({ 'config.json': '{}', [WEIGHTS]: weights('a', 100) });
    hub.faults.set(WEIGHTS, Array(20).fill({ content, ignoreRange: true }));
    expect(await failure(resolve(hub))).toMatchObject({
      name: 'DownloadError',
      message: expect.stringMatching(message),
    });
  });

  test('are given up after some tries, and what was received is kept', async () => {
    const hub = await MockHub.start(MODEL);
    hub.faults.set(WEIGHTS, [{ dropAfter: 90_000 }, ...Array(9).fill({ status: 500 })]);
    const error = await failure(resolve(hub));
    expect(error).toBeInstanceOf(DownloadError);
    expect(error.message).toMatch(/500.*kept in .*\.incomplete; run again to resume/);
    expect(hub.requestsOf(WEIGHTS)).toHaveLength(4);
    expect((await lstat(partialOf(hub))).size).toBe(90_000);
    hub.faults.clear();
    await resolve(hub);
    expect(hub.requestsOf(WEIGHTS).at(-1)?.range).toBe('bytes=90000-');
  });

  test('report a file that the repository lost', async () => {
    const hub = await MockHub.start(MODEL);
    hub.faults.set(WEIGHTS, [{ status: 404 }]);
    expect(await failure(resolve(hub))).toBeInstanceOf(ModelNotFoundError);
  });

  test('do no harm to each other', async () => {
    const hub = await MockHub.start(MODEL);
    const folders = await Promise.all([resolve(hub), resolve(hub), resolve(hub)]);
    expect(new Set(folders).size).toBe(1);
    expect(await readFile(join(folders[0], WEIGHTS))).toEqual(hub.files.get(WEIGHTS));
  });
});

describe('aborting', () => {
  test('keeps the part and rejects with the reason', async () => {
    const hub = await MockHub.start(MODEL);
    hub.faults.set(WEIGHTS, [{ dropAfter: 80_000 }]);
    const controller = new AbortController();
    const onProgress = ({ status, file, loaded }: ProgressEvent) => {
      if (status === 'progress' && file === WEIGHTS && loaded !== undefined && loaded > 0) controller.abort('stop');
    };
    await expect(resolve(hub, { onProgress, signal: controller.signal })).rejects.toBe('stop');
    const [partial] = (await readdir(join(repo, 'blobs'))).filter((name) => name.endsWith('.incomplete'));
    expect((await lstat(join(repo, 'blobs', partial))).size).toBeGreaterThan(0);
    await resolve(hub);
    expect(hub.requestsOf(WEIGHTS).at(-1)?.range).toMatch(/^bytes=[1-9]/);
  });

  test('ends the wait between tries', async () => {
    const hub = await MockHub.start(MODEL);
    hub.apiStatuses.push(500, 500);
    const controller = new AbortController();
    setTimeout(() => controller.abort('enough'), 100);
    await expect(resolve(hub, { signal: controller.signal, retryDelay: 60_000 })).rejects.toBe('enough');
    await expect(resolve(hub, { signal: AbortSignal.abort('no') })).rejects.toBe('no');
  });
});

describe('offline', () => {
  const dead = { endpoint: 'http://127.0.0.1:1' };

  test('uses a complete snapshot', async () => {
    const hub = await MockHub.start(MODEL);
    const folder = await resolve(hub);
    const count = hub.requests.length;
    expect(await resolve(hub, { localFilesOnly: true })).toBe(folder);
    expect(await resolve(hub, { localFilesOnly: true, revision: COMMIT })).toBe(folder);
    expect(await resolve(hub, dead)).toBe(folder);
    hub.apiStatuses.push(500, 502, 503, 504);
    expect(await resolve(hub)).toBe(folder);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await resolve(hub)).toBe(folder);
    expect(hub.requests).toHaveLength(count);
  });

  test('tries the hub again before it counts as unreachable', async () => {
    const hub = await MockHub.start(MODEL);
    hub.apiStatuses.push(500, 502, 503);
    await resolve(hub);
  });

  test('needs no write access when all is there', async () => {
    const hub = await MockHub.start(MODEL);
    const folder = await resolve(hub);
    const fs = await import('node:fs/promises');
    const writes = (['mkdir', 'symlink', 'rename', 'writeFile'] as const).map((name) =>
      vi.spyOn(fs.default, name).mockRejectedValue(new Error('EROFS')),
    );
    syncBuiltinESMExports();
    try {
      expect(await resolve(hub)).toBe(folder);
      expect(await failure(resolve(hub, { cacheDir: join(cacheDir, 'other') }))).toMatchObject({
        name: 'DownloadError',
        message: expect.stringMatching(/can't be written: EROFS.*HF_HOME/),
      });
    } finally {
      for (const write of writes) write.mockRestore();
      syncBuiltinESMExports();
    }
  });

  test('says what is missing', async () => {
    const hub = await MockHub.start(MODEL);
    const message = /localFilesOnly is set.*lacks 'config\.json' of 'org\/name' \(main\).*hf download org\/name/;
    expect(await failure(resolve(hub, { localFilesOnly: true }))).toMatchObject({
      name: 'OfflineError',
      message: expect.stringMatching(message),
    });
    expect(await failure(resolve(hub, dead))).toMatchObject({
      message: expect.stringMatching(/can't be reached \(fetch failed.*lacks/),
    });
    vi.stubEnv('HF_HUB_OFFLINE', 'true');
    expect(await failure(resolve(hub))).toMatchObject({ message: expect.stringMatching(/HF_HUB_OFFLINE is set/) });
    expect(await failure(resolve(hub, { revision: COMMIT }))).toBeInstanceOf(OfflineError);
    expect(hub.requests).toHaveLength(0);
  });

  test('finds incomplete snapshots', async () => {
    const hub = await MockHub.start({
      'config.json': '{}',
      's1.safetensors': weights('a', 3),
      's2.safetensors': weights('b', 3),
      [INDEX]: JSON.stringify({ weight_map: { a: 's1.safetensors', b: 's2.safetensors' } }),
    });
    const folder = await resolve(hub);
    await rm(join(repo, 'blobs', hub.etag('s2.safetensors')));
    expect(await failure(resolve(hub, { localFilesOnly: true }))).toMatchObject({
      message: expect.stringMatching(/lacks 's2\.safetensors'/),
    });
    await rm(join(folder, 's1.safetensors'));
    expect(await failure(resolve(hub, { localFilesOnly: true }))).toMatchObject({
      message: expect.stringMatching(/and 1 more files/),
    });
    await rm(join(folder, INDEX));
    expect(await failure(resolve(hub, { localFilesOnly: true }))).toMatchObject({
      message: expect.stringMatching(/lacks 'model\.safetensors'/),
    });
  });
});
