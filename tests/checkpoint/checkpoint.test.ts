import { rm } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import { FilePool } from '../../src/checkpoint/files/file-pool.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import {
  ArgumentError,
  DisposedError,
  JsonFileError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
} from '../../src/errors.ts';
import { makeFolder } from './folders.ts';

const INDEX = 'model.safetensors.index.json';
const shard = (...names: string[]) =>
  writeSafetensors(names.map((name, i) => ({ name, dtype: 'F32', shape: [2], data: Float32Array.of(i, i + 1) })));
const config = { 'config.json': '{"model_type": "mamba2", "limit": [0.0, Infinity]}' };

async function open(files: Record<string, unknown>): Promise<Checkpoint> {
  return Checkpoint.open(await makeFolder({ ...config, ...files }));
}

describe('Checkpoint', () => {
  test('reads a single file', async () => {
    const checkpoint = await open({
      'model.safetensors': shard('backbone.a', 'backbone.b'),
      'other.safetensors': shard('z'),
      'generation_config.json': { eos_token_id: 0 },
    });
    expect(checkpoint.config).toEqual({ model_type: 'mamba2', limit: [0, Infinity] });
    expect(checkpoint.generationConfig).toEqual({ eos_token_id: 0 });
    expect(checkpoint.names()).toEqual(['backbone.a', 'backbone.b']);
    expect(checkpoint.has('backbone.a')).toBe(true);
    expect(checkpoint.has('z')).toBe(false);
    expect(checkpoint.info('backbone.b')).toEqual({ dtype: 'F32', shape: [2], file: 'model.safetensors' });
    expect(checkpoint.totalBytes).toBe(16);
    expect(await checkpoint.readFloat32('backbone.b')).toEqual(Float32Array.of(1, 2));
    expect(await checkpoint.readFloat32('backbone.b', { firstRow: 1 })).toEqual(Float32Array.of(2));
    await checkpoint.close();
    await expect(checkpoint.readFloat32('backbone.b')).rejects.toThrow(DisposedError);
  });

  test('reads many shards at once', async () => {
    const files: Record<string, unknown> = {};
    const weight_map: Record<string, string> = {};
    for (let i = 0; i < 20; i++) {
      files[`model-${i}.safetensors`] = shard(`first.${i}`, `second.${i}`);
      weight_map[`first.${i}`] = weight_map[`second.${i}`] = `model-${i}.safetensors`;
    }
    const checkpoint = await open({ ...files, [INDEX]: { metadata: {}, weight_map } });
    expect(checkpoint.names()).toHaveLength(40);
    const read = await Promise.all(checkpoint.names().map((name) => checkpoint.readFloat32(name)));
    expect(read.map((values) => values[0])).toEqual(checkpoint.names().map((name) => (name.startsWith('f') ? 0 : 1)));
    expect(checkpoint.generationConfig).toBeUndefined();
    await checkpoint.close();
  });

  test('takes any single safetensors file', async () => {
    const checkpoint = await open({ 'consolidated.safetensors': shard('a') });
    expect(checkpoint.info('a').file).toBe('consolidated.safetensors');
    await checkpoint.close();
  });

  test('suggests names', async () => {
    const checkpoint = await open({ 'model.safetensors': shard('backbone.norm_f.weight', 'backbone.layers.0.D', 'x') });
    expect(() => checkpoint.info('backbone.norm.weight')).toThrow(MissingTensorError);
    expect(() => checkpoint.info('backbone.norm.weight')).toThrow(/Closest: 'backbone\.norm_f\.weight'/);
    await expect(checkpoint.readFloat32('constructor')).rejects.toThrow(MissingTensorError);
    await checkpoint.close();
  });

  test.each<[string, Record<string, unknown>, new (...args: never[]) => Error, RegExp]>([
    ['no weights', {}, ModelNotFoundError, /no weights/],
    ['pickled weights', { 'pytorch_model-00001-of-00002.bin': '' }, ModelNotFoundError, /onvert it to safetensors/],
    ['a pickled index', { 'pytorch_model.bin.index.json': '{}' }, ModelNotFoundError, /pickle/],
    [
      'two unrelated files',
      { 'a.safetensors': shard('a'), 'b.safetensors': shard('b') },
      ModelNotFoundError,
      /2 safetensors/,
    ],
    ['a truncated file', { 'model.safetensors': shard('a').slice(0, -1) }, SafetensorsError, /1 bytes are missing/],
    ['a config that is a list', { 'config.json': '[]', 'model.safetensors': shard('a') }, JsonFileError, /object/],
    [
      'a config that is cut',
      { 'config.json': '{"a":', 'model.safetensors': shard('a') },
      JsonFileError,
      /config\.json/,
    ],
    ['an index without a map', { [INDEX]: {} }, JsonFileError, /weight_map holds nothing/],
    ['a map to no name', { [INDEX]: { weight_map: { a: 3 } } }, JsonFileError, /mapped to 3/],
    [
      'a map outside of the folder',
      { [INDEX]: { weight_map: { a: '../x.safetensors' } } },
      JsonFileError,
      /'a' is mapped/,
    ],
    ['a map to an absolute path', { [INDEX]: { weight_map: { a: '/x.safetensors' } } }, JsonFileError, /'a' is mapped/],
    [
      'a map to a Windows path',
      { [INDEX]: { weight_map: { a: '..\\x.safetensors' } } },
      JsonFileError,
      /'a' is mapped/,
    ],
    ['a missing shard', { [INDEX]: { weight_map: { a: 's.safetensors' } } }, ModelNotFoundError, /lacks 1 of 1 shards/],
    [
      'a tensor that the shard lacks',
      { [INDEX]: { weight_map: { a: 's.safetensors', b: 's.safetensors' } }, 's.safetensors': shard('a') },
      MissingTensorError,
      /puts tensor 'b' in 's\.safetensors', but it is in no shard/,
    ],
    [
      'a tensor in another shard',
      {
        [INDEX]: { weight_map: { a: 's.safetensors', b: 's.safetensors', c: 't.safetensors' } },
        's.safetensors': shard('a'),
        't.safetensors': shard('b', 'c'),
      },
      MissingTensorError,
      /in 't\.safetensors'/,
    ],
    [
      'a tensor in two shards',
      {
        [INDEX]: { weight_map: { a: 's.safetensors', b: 't.safetensors' } },
        's.safetensors': shard('a'),
        't.safetensors': shard('a', 'b'),
      },
      JsonFileError,
      /'a' is in both/,
    ],
  ])('rejects %s', async (_, files, type, message) => {
    const error = await open(files).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });

  test('rejects a folder without a config, and one that is not there', async () => {
    await expect(Checkpoint.open(await makeFolder())).rejects.toThrow(ModelNotFoundError);
    await expect(Checkpoint.open('/nowhere')).rejects.toThrow(ModelNotFoundError);
  });

  test('honours the signal', async () => {
    const folder = await makeFolder({ ...config, 'model.safetensors': shard('a') });
    await expect(Checkpoint.open(folder, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
  });
});

describe('FilePool', () => {
  test('keeps few files open and lets a failed open be tried again', async () => {
    const files = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`${i}`, Uint8Array.of(i)]));
    const folder = await makeFolder(files);
    const pool = new FilePool(2);
    const sources = await Promise.all(Object.keys(files).map((name) => pool.source(`${folder}/${name}`)));
    const bytes = await Promise.all([...sources, ...sources].map((source) => source.read(0, 1)));
    expect(bytes.map(([byte]) => byte)).toEqual([...Array(10).keys(), ...Array(10).keys()]);
    expect(pool.openCount).toBeLessThanOrEqual(2);
    await expect(sources[9].read(0, 2)).rejects.toThrow(ArgumentError);
    expect(await sources[9].read(0, 1)).toEqual(Uint8Array.of(9));
    // Reads at once end in any order: two other files, one after the other, make sure that this one is closed.
    await sources[7].read(0, 1);
    await sources[8].read(0, 1);
    await rm(`${folder}/0`);
    await expect(sources[0].read(0, 1)).rejects.toThrow(ModelNotFoundError);
    const { writeFile } = await import('node:fs/promises');
    await writeFile(`${folder}/0`, Uint8Array.of(7));
    expect(await sources[0].read(0, 1)).toEqual(Uint8Array.of(7));
    await pool.close();
    expect(pool.openCount).toBe(0);
    await expect(sources[0].read(0, 1)).rejects.toThrow(DisposedError);
    await expect(pool.source(`${folder}/none`)).rejects.toThrow(ModelNotFoundError);
  });
});
