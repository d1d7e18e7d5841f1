import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { chooseGguf } from '../../../src/checkpoint/gguf/choose-gguf.ts';
import { resolveHubModel } from '../../../src/checkpoint/hub/hub-cache.ts';
import { parseHubName } from '../../../src/checkpoint/hub/hub-name.ts';
import type { HubOptions } from '../../../src/checkpoint/hub/hub-options.ts';
import { storedHubModels } from '../../../src/checkpoint/hub/hub-storage.ts';
import { openModelSource, resolveModel } from '../../../src/checkpoint/model-source.ts';
import { StoredFiles } from '../../../src/checkpoint/stored/stored-files.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { DownloadError, ModelNotFoundError, OfflineError } from '../../../src/errors.ts';
import { StaticServer, type StaticServerOptions } from '../../static-server.ts';
import { makeFolder } from '../folders.ts';
import { COMMIT, MockHub } from '../mock-hub.ts';
import { MemoryFolder } from '../stored/memory-folder.ts';
import { tinyGguf, tinySplit } from './tiny-gguf.ts';

const tiny = tinyGguf();
const [part1, part2] = tinySplit();
const SPLIT = { 'm-Q8_0-00001-of-00002.gguf': part1, 'm-Q8_0-00002-of-00002.gguf': part2 };

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Error)) throw new Error(`expected a rejection, got ${String(error)}`);
  return error;
}

describe('chooseGguf', () => {
  const files = [
    'README.md',
    'mmproj-F16.gguf',
    'm-Q8_0.gguf',
    'm-Q4_K_M.gguf',
    'm-UD-Q4_K_XL.gguf',
    'm-Q4_K_S.gguf',
    'BF16/m-BF16-00001-of-00002.gguf',
    'BF16/m-BF16-00002-of-00002.gguf',
    'm.IQ4_XS.gguf',
    'm-MXFP4_MOE.gguf',
  ];

  test.each([
    [undefined, 'm-Q4_K_M.gguf'],
    ['Q4_K_M', 'm-Q4_K_M.gguf'],
    ['q4_k_s', 'm-Q4_K_S.gguf'],
    ['UD-Q4_K_XL', 'm-UD-Q4_K_XL.gguf'],
    ['Q4_K_XL', 'm-UD-Q4_K_XL.gguf'],
    ['bf16', 'BF16/m-BF16-00001-of-00002.gguf'],
    ['IQ4_XS', 'm.IQ4_XS.gguf'],
    ['mxfp4_moe', 'm-MXFP4_MOE.gguf'],
    ['m-Q8_0.gguf', 'm-Q8_0.gguf'],
  ])('takes for %s %s', (tag, file) => {
    expect(chooseGguf(files, tag, 'org/name')).toBe(file);
  });

  test('takes the only one, whatever its name', () => {
    expect(chooseGguf(['mmproj-model.gguf', 'model.gguf', 'x.txt'], undefined, 'x')).toBe('model.gguf');
  });

  test('takes what llama.cpp would, Q4_K_M before Q8_0', () => {
    expect(chooseGguf(['a-F16.gguf', 'a-Q8_0.gguf'], undefined, 'x')).toBe('a-Q8_0.gguf');
  });

  test.each<[string[], string | undefined, RegExp]>([
    [files, 'Q4', /'org\/name' holds no .* quantization 'Q4'.*There are BF16, MXFP4_MOE, Q4_K_M, Q4_K_S, Q8_0.*:BF16'/],
    [files, 'K_M', /no model in GGUF of the quantization 'K_M'/],
    [
      ['a-Q5_K_M.gguf', 'a-Q6_K.gguf'],
      undefined,
      /holds 2 models in GGUF, and no quantization.*There are Q5_K_M, Q6_K/,
    ],
    [
      ['a-Q8_0.gguf', 'b-Q8_0.gguf'],
      'q8_0',
      /holds 2 .* of the quantization 'q8_0': a-Q8_0.gguf, b-Q8_0.gguf.*:a-Q8_0\.gguf'/,
    ],
    [['a-Q8_0.gguf', 'b-Q8_0.gguf'], undefined, /holds 2 models in GGUF: a-Q8_0/],
    [['x.txt'], 'Q8_0', /holds no model in GGUF/],
  ])('refuses where it is not clear: %#', (names, tag, message) => {
    expect(() => chooseGguf(names, tag, 'org/name')).toThrow(ModelNotFoundError);
    expect(() => chooseGguf(names, tag, 'org/name')).toThrow(message);
  });
});

describe('parseHubName', () => {
  const name = { repoId: 'org/name', revision: undefined, quantization: undefined };

  test.each([
    ['org/name', name],
    ['org/name@v1', { ...name, revision: 'v1' }],
    ['org/name@refs/pr/1', { ...name, revision: 'refs/pr/1' }],
    ['org/name:Q4_K_M', { ...name, quantization: 'Q4_K_M' }],
    ['org/name:Q4_K_M@v1', { ...name, quantization: 'Q4_K_M', revision: 'v1' }],
    ['org/name@v1:Q4_K_M', { ...name, quantization: 'Q4_K_M', revision: 'v1' }],
    ['org/name:m-Q8_0.gguf', { ...name, quantization: 'm-Q8_0.gguf' }],
    ['hf.co/org/name:Q8_0', { ...name, quantization: 'Q8_0' }],
    ['huggingface.co/org/name:latest', name],
  ])('%s', (source, expected) => {
    expect(parseHubName(source)).toEqual(expected);
  });

  test.each(['name', 'a/b/c', 'org/name:', 'org/name@', 'org/name:a:b', 'org/name:a@b:c', ':Q8_0', ''])(
    'not %s',
    (source) => {
      expect(parseHubName(source)).toBeUndefined();
    },
  );
});

describe('local models', () => {
  test('are files, and folders that hold one', async () => {
    const folder = await makeFolder({ 'one/m.gguf': tiny, 'one/README.md': '', 'one/mmproj-m.gguf': tiny });
    const path = `${folder}/one/m.gguf`;
    expect(await resolveModel(path)).toBe(path);
    expect(await resolveModel(`${folder}/one`)).toBe(path);
    const checkpoint = await Checkpoint.open(path);
    expect(checkpoint.config.model_type).toBe('mamba2');
    expect(checkpoint.folder).toBe(path);
    expect(checkpoint.names()).toContain('backbone.layers.0.mixer.in_proj.weight');
    await checkpoint.close();
  });

  test('may be split', async () => {
    const folder = await makeFolder(SPLIT);
    const checkpoint = await Checkpoint.open(await resolveModel(folder));
    const whole = await Checkpoint.open(`${await makeFolder({ 'm.gguf': tiny })}/m.gguf`);
    expect(checkpoint.names()).toEqual(whole.names());
    for (const name of whole.names()) expect(await checkpoint.readBytes(name)).toEqual(await whole.readBytes(name));
    await checkpoint.close();
    await whole.close();
  });

  test('of which a folder holds several are named by their quantisation', async () => {
    const folder = await makeFolder({ 'm-Q6_K.gguf': tiny, 'm-F16.gguf': tiny });
    expect(await resolveModel(`${folder}:q6_k`)).toBe(`${folder}/m-Q6_K.gguf`);
    expect((await failure(resolveModel(folder))).message).toMatch(/holds 2 models.*There are F16, Q6_K/);
    expect(await failure(resolveModel(`${folder}:Q2_K`))).toBeInstanceOf(ModelNotFoundError);
  });

  test('that are not there are not looked for on the hub', async () => {
    const error = await failure(resolveModel('models/none.gguf', { localFilesOnly: true }));
    expect(error).toBeInstanceOf(ModelNotFoundError);
    expect(error.message).toMatch(/no model 'models\/none\.gguf': no such folder or GGUF file/);
  });

  test('in safetensors stay what they are', async () => {
    const folder = await makeFolder({ 'model.safetensors': 'x', 'm.gguf': tiny });
    expect(await resolveModel(folder)).toBe(folder);
    expect(await resolveModel(`${folder}:m.gguf`)).toBe(`${folder}/m.gguf`);
  });
});

describe('hub repositories', () => {
  const FILES = {
    'README.md': 'x',
    'm-Q4_K_M.gguf': tiny,
    'm-Q6_K.gguf': tinyGguf('another'),
    'BF16/m-BF16-00001-of-00002.gguf': part1,
    'BF16/m-BF16-00002-of-00002.gguf': part2,
  };
  let cacheDir: string;

  beforeEach(async () => {
    cacheDir = await makeFolder();
    for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HF_ENDPOINT']) vi.stubEnv(name, '');
    vi.stubEnv('HF_HOME', join(cacheDir, 'home'));
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  const resolve = (hub: MockHub, source: string, options: HubOptions = {}) =>
    resolveModel(source, { endpoint: hub.endpoint, cacheDir, retryDelay: 1, ...options });
  const snapshot = () => join(cacheDir, 'models--org--name', 'snapshots', COMMIT);

  test('give one file, and only it is fetched', async () => {
    const hub = await MockHub.start(FILES);
    expect(await resolve(hub, 'org/name')).toBe(join(snapshot(), 'm-Q4_K_M.gguf'));
    expect(await resolve(hub, 'hf.co/org/name:q6_k')).toBe(join(snapshot(), 'm-Q6_K.gguf'));
    expect(await readdir(snapshot())).toEqual(['m-Q4_K_M.gguf', 'm-Q6_K.gguf']);
    expect(hub.requests.map(({ file }) => file)).toEqual(['m-Q4_K_M.gguf', 'm-Q6_K.gguf']);
    const checkpoint = await Checkpoint.open(await resolve(hub, 'org/name@v1:Q6_K'));
    expect(checkpoint.config.model_type).toBe('mamba2');
    await checkpoint.close();
  });

  test('may have parts in a sub-folder', async () => {
    const hub = await MockHub.start(FILES);
    const path = await resolve(hub, 'org/name:BF16');
    expect(path).toBe(join(snapshot(), 'BF16', 'm-BF16-00001-of-00002.gguf'));
    const checkpoint = await Checkpoint.open(path);
    expect(checkpoint.names().length).toBeGreaterThan(5);
    await checkpoint.close();
    hub.files.delete('BF16/m-BF16-00002-of-00002.gguf');
    expect(await failure(resolve(hub, 'org/name:BF16'))).toBeInstanceOf(DownloadError);
  });

  test('say what they hold where that is not clear', async () => {
    const hub = await MockHub.start(FILES);
    expect((await failure(resolve(hub, 'org/name:Q5_K_M'))).message).toMatch(
      /'org\/name' holds no .*There are BF16, Q4_K_M, Q6_K/,
    );
    hub.files.delete('m-Q4_K_M.gguf');
    expect((await failure(resolve(hub, 'org/name'))).message).toMatch(/no quantization was named.*'org\/name:BF16'/);
  });

  test('with safetensors give those, unless a quantisation is named', async () => {
    const hub = await MockHub.start({ ...FILES, 'config.json': '{}', 'model.safetensors': 'x' });
    expect(await resolve(hub, 'org/name')).toBe(snapshot());
    expect(await resolve(hub, 'org/name:Q6_K')).toBe(join(snapshot(), 'm-Q6_K.gguf'));
  });

  test('do not lead out of their folder', async () => {
    const hub = await MockHub.start({ 'config.json': '{}', 'a.gguf': tiny });
    hub.files.delete('a.gguf');
    for (const path of ['../../a.gguf', 'x/../../a.gguf', '/a.gguf', 'C:\\a.gguf']) hub.add(path, tiny);
    expect(await failure(resolve(hub, 'org/name:a.gguf'))).toBeInstanceOf(ModelNotFoundError);
    expect(hub.requests).toEqual([]);
  });

  test('work from the cache without a network', async () => {
    const hub = await MockHub.start(FILES);
    const offline = { localFilesOnly: true };
    expect(await failure(resolve(hub, 'org/name:Q6_K', offline))).toBeInstanceOf(OfflineError);
    await resolve(hub, 'org/name:Q6_K');
    expect(await resolve(hub, 'org/name:Q6_K', offline)).toBe(join(snapshot(), 'm-Q6_K.gguf'));
    expect(await resolve(hub, 'org/name', offline)).toBe(join(snapshot(), 'm-Q6_K.gguf'));
    const error = await failure(resolve(hub, 'org/name:Q4_K_M', offline));
    expect(error).toBeInstanceOf(OfflineError);
    expect(error.message).toMatch(/lacks 'Q4_K_M in GGUF' of 'org\/name'/);
    await resolve(hub, 'org/name:BF16');
    await rm(join(snapshot(), 'BF16', 'm-BF16-00002-of-00002.gguf'));
    expect(await failure(resolve(hub, 'org/name:BF16', offline))).toBeInstanceOf(OfflineError);
  });

  test('are whole in the cache with one whole model', async () => {
    const hub = await MockHub.start(FILES);
    await resolve(hub, 'org/name:BF16');
    const missing = async () => (await storedHubModels(cacheDir)).flatMap(({ revisions }) => revisions[0].missing);
    expect(await missing()).toEqual([]);
    await rm(join(snapshot(), 'BF16', 'm-BF16-00002-of-00002.gguf'));
    expect(await missing()).toEqual(['BF16/m-BF16-00002-of-00002.gguf']);
  });

  test('can be looked at without being stored', async () => {
    const hub = await MockHub.start(FILES);
    const options = { endpoint: hub.endpoint, cacheDir, retryDelay: 1 };
    for (const source of ['org/name:Q6_K', 'org/name:BF16']) {
      const checkpoint = await Checkpoint.open(await openModelSource(source, options));
      expect(checkpoint.names().length).toBeGreaterThan(5);
      await checkpoint.close();
    }
    expect(hub.requests.every(({ range }) => range !== undefined)).toBe(true);
    expect(await readdir(cacheDir)).toEqual([]);
    await resolveHubModel('org/name', { ...options, quantization: 'Q6_K' });
    const count = hub.requests.length;
    const checkpoint = await Checkpoint.open(await openModelSource('org/name:Q6_K', options));
    await checkpoint.close();
    expect(hub.requests).toHaveLength(count);
  });

  test('are found in a browser by a request for their list', async () => {
    const hub = await MockHub.start(FILES);
    hub.commit = 'main';
    vi.spyOn(process, 'getBuiltinModule').mockReturnValue(undefined as never);
    onTestFinished(() => {
      vi.restoreAllMocks();
    });
    const resolveThere = (source: string) => resolveModel(source, { endpoint: hub.endpoint, retryDelay: 1 });
    expect(await resolveThere('org/name:q6_k')).toBe(`${hub.endpoint}/org/name/resolve/main/m-Q6_K.gguf`);
    expect(await resolveThere('org/name:BF16')).toBe(
      `${hub.endpoint}/org/name/resolve/main/BF16/m-BF16-00001-of-00002.gguf`,
    );
    expect(await resolveThere('org/name')).toBe(`${hub.endpoint}/org/name/resolve/main/`);
    expect((await failure(resolveThere('org/name:Q2_K'))).message).toMatch(/There are BF16, Q4_K_M, Q6_K/);
  });
});

describe('URLs', () => {
  async function serve(files: Record<string, Uint8Array>, options: StaticServerOptions = {}): Promise<StaticServer> {
    const server = await StaticServer.start({ folders: { '/m/': await makeFolder(files) }, ...options });
    onTestFinished(() => server.close());
    return server;
  }

  test('of a file are kept as they are', async () => {
    expect(await resolveModel('https://example.com/a/m.gguf?key=1')).toBe('https://example.com/a/m.gguf?key=1');
  });

  test.each([true, false])('are read like files, ranges given: %s', async (ranges) => {
    const server = await serve({ 'm.gguf': tiny, ...SPLIT }, { ranges });
    const local = await Checkpoint.open(`${await makeFolder({ 'm.gguf': tiny })}/m.gguf`);
    for (const name of ['m.gguf', ...Object.keys(SPLIT)]) {
      const checkpoint = await Checkpoint.open(`${server.origin}/m/${name}?key=1`);
      expect(checkpoint.versions.length).toBe(name === 'm.gguf' ? 1 : 2);
      for (const tensor of local.names()) {
        expect(await checkpoint.readFloat32(tensor)).toEqual(await local.readFloat32(tensor));
      }
      await checkpoint.close();
    }
    await local.close();
    // Nothing of a model in other formats is looked for.
    expect(new Set(server.requests.map(({ path }) => path)).size).toBe(3);
  });

  test('that lead to nothing say so', async () => {
    const server = await serve({ 'm-00001-of-00002.gguf': part1 });
    expect((await failure(Checkpoint.open(`${server.origin}/m/x.gguf`))).message).toMatch(/no file 'http.*x\.gguf'/);
    const split = await failure(Checkpoint.open(`${server.origin}/m/m-00001-of-00002.gguf`));
    expect(split.message).toMatch(/m-00002-of-00002\.gguf': part 2 of 2 is missing/);
  });

  test('are loaded on several ranks, as files are', async () => {
    const server = await serve({ 'm.gguf': tiny });
    const folder = await makeFolder({ 'm.gguf': tiny });
    const logits = async (source: string, tensorParallelSize: number) => {
      await using llm = await LLM.load(source, { device: 'cpu', dtype: 'float32', tensorParallelSize });
      return await llm.logits([1, 2, 3]);
    };
    const expected = await logits(folder, 1);
    expect(await logits(`${server.origin}/m/m.gguf`, 1)).toEqual(expected);
    const shared = await logits(`${server.origin}/m/m.gguf`, 2);
    expect(shared).toEqual(await logits(folder, 2));
  });

  test('are stored by browsers, each file for itself', async () => {
    const server = await serve({ 'm.gguf': tiny, ...SPLIT });
    const store = new MemoryFolder();
    const estimate = async () => ({ usage: store.usage, quota: store.capacity });
    const url = `${server.origin}/m/m-Q8_0-00001-of-00002.gguf`;
    const open = async (localFilesOnly: boolean) => {
      const files = await StoredFiles.open(url, store, estimate, { retryDelay: 1, localFilesOnly });
      const checkpoint = await Checkpoint.open(files);
      const names = checkpoint.names();
      for (const name of names) await checkpoint.readFloat32(name);
      await checkpoint.close();
      return names;
    };
    const names = await open(false);
    await server.close();
    expect(await open(true)).toEqual(names);
  });
});
