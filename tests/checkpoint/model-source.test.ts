import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { bundledModels, resolveModel } from '../../src/checkpoint/model-source.ts';
import { ModelNotFoundError, OfflineError } from '../../src/errors.ts';
import { makeFolder } from './folders.ts';

describe('resolveModel', () => {
  test('takes an existing folder', async () => {
    const folder = await makeFolder({ 'a/config.json': '{}' });
    expect(await resolveModel(folder)).toBe(folder);
    expect(await resolveModel(`${folder}/a/../a`)).toBe(`${folder}/a`);
    expect(await resolveModel('src')).toBe(`${process.cwd()}/src`);
    expect(await resolveModel(pathToFileURL(`${folder}/a`).href)).toBe(`${folder}/a`);
  });

  test('takes a bundled model', async () => {
    expect(bundledModels()).toContain('tiny-dts');
    const folder = await resolveModel('tiny-dts');
    expect(basename(folder)).toBe('tiny-dts');
  });

  test('takes URLs of folders', async () => {
    expect(await resolveModel('https://example.com/models/a')).toBe('https://example.com/models/a/');
    expect(await resolveModel('http://example.com/a/?key=1')).toBe('http://example.com/a/?key=1');
  });

  test('takes hub names, with a revision', async () => {
    const options = { localFilesOnly: true, cacheDir: await makeFolder() };
    await expect(resolveModel('org/name', options)).rejects.toThrow(/'org\/name' \(main\)/);
    await expect(resolveModel('org/name', { ...options, revision: 'v1' })).rejects.toThrow(/\(v1\)/);
    await expect(resolveModel('org/name@refs/pr/1', options)).rejects.toThrow(/'org\/name' \(refs\/pr\/1\)/);
    await expect(resolveModel('org/name@v2', { ...options, revision: 'v1' })).rejects.toThrow(OfflineError);
  });

  test.each([
    '',
    'nothing',
    './nothing',
    '/no/where',
    'a/b/c',
    '../../x',
    'tiny\0dts',
    'https://',
    'ftp://example.com/x',
    '~/model',
  ])('rejects %j', async (source) => {
    const error = await resolveModel(source).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ModelNotFoundError);
    expect((error as Error).message).toMatch(/no such folder.*Bundled models: .*tiny-dts/);
  });

  test('refuses a file URL that names no path', async () => {
    const error = await resolveModel('file:///a%2Fb').catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ModelNotFoundError);
    expect((error as Error).message).toMatch(/'file:\/\/\/a%2Fb' names no path: .*encoded.*Write/);
  });

  test('honours the signal', async () => {
    await expect(resolveModel('tiny-dts', { signal: AbortSignal.abort('stop') })).rejects.toBe('stop');
  });
});
