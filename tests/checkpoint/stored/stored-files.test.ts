import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import type { ProgressEvent } from '../../../src/checkpoint/net/progress.ts';
import { writeSafetensors } from '../../../src/checkpoint/safetensors/safetensors-writer.ts';
import { StoredFiles, type StoredFilesOptions } from '../../../src/checkpoint/stored/stored-files.ts';
import { DisposedError, ModelChangedError, OfflineError, StorageQuotaError } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';
import { StaticServer, type StaticServerOptions } from '../../static-server.ts';
import { type Files, makeFolder } from '../folders.ts';
import { MemoryFolder } from './memory-folder.ts';

const WEIGHTS = 'model.safetensors';
/** A piece and some. */
const LENGTHS = [10, 4_000_000, 3, 800_001, 400_000];
const TENSORS = LENGTHS.map((length, i) => ({
  name: `t${i}`,
  dtype: 'F32' as const,
  shape: [length],
  data: Float32Array.from({ length }, (_, j) => i + j),
}));
const MODEL: Files = { 'config.json': { model_type: 'mamba2' }, [WEIGHTS]: writeSafetensors(TENSORS) };
const SIZE = (MODEL[WEIGHTS] as Uint8Array).length;

interface Rig {
  readonly server: StaticServer;
  readonly path: string;
  readonly store: MemoryFolder;
  /** Requests since it was asked last, but for those without content. */
  fetched(): { path: string; range: string | undefined }[];
  open(options?: StoredFilesOptions): Promise<StoredFiles>;
}

async function rig(files: Files = MODEL, options: StaticServerOptions = {}, location = '/m/'): Promise<Rig> {
  const path = await makeFolder(files);
  const server = await StaticServer.start({ folders: { '/m/': path }, ...options });
  onTestFinished(() => server.close());
  const store = new MemoryFolder();
  const url = server.origin + location;
  return {
    server,
    path,
    store,
    fetched: () => server.requests.splice(0).filter(({ method }) => method === 'GET'),
    open: async (more = {}) => {
      const estimate = async () => ({ usage: store.usage, quota: store.capacity });
      const files = await StoredFiles.open(url, store, estimate, { retryDelay: 1, ...more });
      onTestFinished(() => files.close());
      return files;
    },
  };
}

async function load(files: StoredFiles): Promise<Checkpoint> {
  const checkpoint = await Checkpoint.open(files);
  for (const { name, data } of TENSORS) {
    // vitest compares millions of numbers one by one.
    const isEqual = Buffer.from(data.buffer).equals(new Uint8Array((await checkpoint.readFloat32(name)).buffer));
    expect(isEqual, name).toBe(true);
  }
  return checkpoint;
}

describe.each([true, false])('a stored model, ranges given: %s', (ranges) => {
  test('is fetched once', async () => {
    const { open, fetched, store } = await rig(MODEL, { ranges });
    await (await load(await open())).close();
    const first = fetched().filter(({ path }) => path.endsWith(WEIGHTS));
    expect(first).toHaveLength(ranges ? Math.ceil(SIZE / 2 ** 24) : 1);
    await (await load(await open())).close();
    expect(fetched()).toEqual([]);
    expect(store.openFiles).toEqual([]);
  });

  test('is fetched again where it has changed, and only that', async () => {
    const { open, fetched, path } = await rig(MODEL, { ranges });
    await (await load(await open())).close();
    fetched();
    await writeFile(join(path, WEIGHTS), writeSafetensors([{ ...TENSORS[0], data: new Float32Array(10) }]));
    const checkpoint = await Checkpoint.open(await open());
    expect(checkpoint.names()).toEqual(['t0']);
    expect(await checkpoint.readFloat32('t0')).toEqual(new Float32Array(10));
    await checkpoint.close();
    expect(new Set(fetched().map((request) => request.path))).toEqual(new Set([`/m/${WEIGHTS}`]));
  });

  test('refuses to become a mixture of two', async () => {
    const { open, path } = await rig(MODEL, { ranges, pieceBytes: 2 ** 20 });
    const files = await open();
    const weights = await files.open(WEIGHTS);
    await writeFile(join(path, WEIGHTS), (MODEL[WEIGHTS] as Uint8Array).toReversed());
    await expect(weights?.read(SIZE - 10, 10)).rejects.toThrow(ModelChangedError);
  });

  test('continues after lost connections and answers that say "later"', async () => {
    const { open, server } = await rig(MODEL, { ranges });
    server.faults.set('/m/config.json', [503]);
    server.faults.set(`/m/${WEIGHTS}`, [500]);
    server.drops.set(`/m/${WEIGHTS}`, 2_000_000);
    await load(await open());
  });

  test('has any bytes that are asked for, in any order', async () => {
    const { open } = await rig(MODEL, { ranges });
    const weights = await (await open()).open(WEIGHTS);
    const read = fc.record({ offset: fc.nat(SIZE - 1), length: fc.nat(1000) });
    await fc.assert(
      fc.asyncProperty(fc.array(read, { minLength: 1, maxLength: 5 }), async (reads) => {
        const bytes = reads.map(({ offset, length }) => weights?.read(offset, Math.min(length, SIZE - offset)));
        const expected = reads.map(({ offset, length }) =>
          (MODEL[WEIGHTS] as Uint8Array).slice(offset, Math.min(offset + length, SIZE)),
        );
        expect(await Promise.all(bytes)).toEqual(expected);
      }),
      { numRuns: runs(20) },
    );
  });

  test('is not stored where there is no room for it, and not fetched', async () => {
    const { open, fetched, store } = await rig(MODEL, { ranges });
    store.capacity = SIZE;
    const error = await Checkpoint.open(await open()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StorageQuotaError);
    expect((error as Error).message).toMatch(/needs 21 MB.*can store only 21 MB more.*useBrowserStorage/);
    expect(fetched().map(({ path }) => path)).not.toContain(`/m/${WEIGHTS}`);
  });

  test('says when the room is gone in the middle', async () => {
    const { open, store } = await rig(MODEL, { ranges });
    const files = await open();
    const weights = await files.open(WEIGHTS);
    store.capacity = SIZE / 2;
    await expect(weights?.read(SIZE - 1, 1)).rejects.toThrow(StorageQuotaError);
  });

  test('ends its downloads when it is closed', async () => {
    const { open, store } = await rig(MODEL, { ranges, pieceBytes: 100_000 });
    const files = await open();
    const read = (await files.open(WEIGHTS))?.read(0, SIZE);
    setTimeout(() => files.close(), 5);
    await expect(read).rejects.toThrow(DisposedError);
    await files.close();
    expect(store.openFiles).toEqual([]);
    await expect(files.readText('config.json')).rejects.toThrow(DisposedError);
  });
});

describe('an interrupted download', () => {
  test('continues where it ended', async () => {
    const { open, fetched, server } = await rig(MODEL, { pieceBytes: 400_000 });
    const files = await open();
    const checkpoint = await Checkpoint.open(files);
    await checkpoint.readFloat32('t0');
    const rest = expect(checkpoint.readFloat32('t4')).rejects.toThrow(DisposedError);
    await files.close();
    await rest;
    fetched();
    const events: ProgressEvent[] = [];
    await (await load(await open({ onProgress: (event) => events.push(event) }))).close();
    const own = events.filter(({ file }) => file === WEIGHTS);
    const stored = own.find(({ loaded }) => loaded !== undefined)?.loaded ?? 0;
    expect(stored).toBeGreaterThan(0);
    expect(own.at(-1)).toMatchObject({ status: 'done', loaded: SIZE, total: SIZE });
    const again = server.requests.filter(({ method, path }) => method === 'GET' && path.endsWith(WEIGHTS));
    expect(again.reduce((sum, { range }) => sum + lengthOf(range), 0)).toBe(SIZE - stored);
  });

  test('begins again where the file has changed', async () => {
    const { open, path } = await rig(MODEL, { pieceBytes: 400_000 });
    const files = await open();
    const weights = await files.open(WEIGHTS);
    await weights?.read(0, 1_000_000);
    await files.close();
    const reversed = (MODEL[WEIGHTS] as Uint8Array).toReversed();
    await writeFile(join(path, WEIGHTS), reversed);
    expect(await (await (await open()).open(WEIGHTS))?.read(0, 1000)).toEqual(reversed.slice(0, 1000));
  });

  test('begins again where its record was not written to its end', async () => {
    const { open, store } = await rig();
    await (await load(await open())).close();
    for (const name of ['record-0.json', 'record-1.json']) store.spoil(name, '{"form":1,');
    await load(await open());
  });

  test('needs one of two records only', async () => {
    const { open, store, fetched } = await rig();
    await (await load(await open())).close();
    fetched();
    store.spoil('record-0.json', '{');
    await (await load(await open())).close();
    store.spoil('record-1.json', '{');
    await (await load(await open())).close();
    expect(fetched().reduce((sum, { range }) => sum + lengthOf(range), 0)).toBeLessThan(SIZE);
  });
});

describe('a server', () => {
  test('that is gone is not needed for a model that is stored', async () => {
    const { open, server } = await rig();
    await (await load(await open())).close();
    await server.close();
    await load(await open());
  });

  test('is not asked for a commit of the hub, nor where only what is stored may be used', async () => {
    const location = `/org/name/resolve/${'0123456789'.repeat(4)}/`;
    const path = await makeFolder(MODEL);
    const commit = await rig(MODEL, { folders: { [location]: path } }, location);
    await (await load(await commit.open())).close();
    commit.server.requests.length = 0;
    await load(await commit.open());
    expect(commit.server.requests).toEqual([]);

    const local = await rig();
    await expect((await local.open({ localFilesOnly: true })).readText('config.json')).rejects.toThrow(OfflineError);
    await (await load(await local.open())).close();
    local.server.requests.length = 0;
    await load(await local.open({ localFilesOnly: true }));
    expect(local.server.requests).toEqual([]);
  });

  test('that refuses now is not got round', async () => {
    const { open, server } = await rig();
    await (await load(await open())).close();
    server.faults.set('/m/config.json', [403, 403]);
    await expect((await open()).readText('config.json')).rejects.toMatchObject({ code: 'download_failed' });
  });

  test('that does not answer without content is asked for a byte', async () => {
    const { open, server, fetched } = await rig();
    await (await load(await open())).close();
    fetched();
    server.faults.set(`/m/${WEIGHTS}`, [405]);
    await load(await open());
    expect(fetched().map(({ range }) => range)).toEqual(['bytes=0-0']);
  });

  test('that says no more than sizes is believed about weights, not about texts', async () => {
    const { open, fetched } = await rig(MODEL, { validators: false });
    await (await load(await open())).close();
    fetched();
    await (await load(await open())).close();
    expect(fetched().map(({ path }) => path)).toEqual(['/m/config.json']);
  });

  test('may get and lose files', async () => {
    const { open, path } = await rig();
    const first = await open();
    expect(await first.readText('chat_template.jinja')).toBeUndefined();
    expect(await first.open('none.safetensors')).toBeUndefined();
    await first.close();
    await writeFile(join(path, 'chat_template.jinja'), 'new');
    await rm(join(path, 'config.json'));
    const second = await open();
    expect(await second.readText('chat_template.jinja')).toBe('new');
    expect(await second.readText('config.json')).toBeUndefined();
  });
});

function lengthOf(range: string | undefined): number {
  const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  return begin === undefined ? SIZE : Number(end) - Number(begin) + 1;
}
