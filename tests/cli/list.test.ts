import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { removeHubModel, storedHubModels } from '../../src/checkpoint/hub/hub-storage.ts';
import { ArgumentError, ModelNotFoundError } from '../../src/errors.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { runCli } from './run-cli.ts';

const [FIRST, SECOND] = ['a'.repeat(40), 'b'.repeat(40)];

/** A cache with a model of two revisions that share a file, one that was interrupted, and things that are no models. */
async function makeCache(): Promise<{ home: string; cache: string }> {
  const home = await makeFolder();
  const cache = join(home, 'hub');
  const put = async (path: string, content: string) => {
    await mkdir(dirname(join(cache, path)), { recursive: true });
    await writeFile(join(cache, path), content);
  };
  const model = 'models--org--name';
  for (const [blob, size] of [
    ['config', 10],
    ['old', 100],
    ['new', 1000],
  ] as const)
    await put(`${model}/blobs/${blob}`, 'x'.repeat(size));
  for (const [commit, weights] of [
    [FIRST, 'old'],
    [SECOND, 'new'],
  ] as const) {
    const folder = join(cache, model, 'snapshots', commit);
    await mkdir(folder, { recursive: true });
    await symlink('../../blobs/config', join(folder, 'config.json'));
    await symlink(`../../blobs/${weights}`, join(folder, 'model.safetensors'));
  }
  await put(`${model}/refs/main`, SECOND);
  await put(`${model}/refs/refs/pr/1`, FIRST);
  await put('models--org--cut/blobs/x.incomplete', 'x'.repeat(50));
  await put('datasets--org--data/blobs/x', 'x');
  await put('version.txt', '1');
  await put('.locks/models--org--name/x.lock', '');
  return { home, cache };
}

test('list: what is in the cache, in words and as JSON', async () => {
  const { home, cache } = await makeCache();
  const env = { HF_HOME: home };
  const { code, stdout, stderr } = await runCli(['list'], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^org\/cut +50 B +\d{4}-\d\d-\d\d +50 B of an interrupted download$/m);
  expect(stdout).toMatch(/^org\/name +1\.1 kB +\d{4}-\d\d-\d\d +refs\/pr\/1, main$/m);
  expect(stdout).toContain(`1.2 kB in ${cache}\nBundled: tiny-dts\n`);
  const { models, folder, bundled } = JSON.parse((await runCli(['list', '--json'], { env })).stdout);
  expect({ folder, bundled }).toEqual({ folder: cache, bundled: ['tiny-dts'] });
  expect(models).toMatchObject([
    { id: 'org/cut', bytes: 50, incompleteBytes: 50, revisions: [] },
    {
      id: 'org/name',
      bytes: 1110,
      incompleteBytes: 0,
      revisions: [
        { commit: FIRST, refs: ['refs/pr/1'], missing: [], quantizations: [] },
        { commit: SECOND, refs: ['main'], missing: [], quantizations: [] },
      ],
    },
  ]);
  const empty = await runCli(['list'], { env: { HF_HOME: await makeFolder() } });
  expect(empty).toMatchObject({ code: 0, stdout: expect.stringMatching(/^No models are in .*mamba2 pull/) });
});

test('rm asks first, and takes the model with its locks', async () => {
  const { home, cache } = await makeCache();
  const env = { HF_HOME: home };
  const asked = await runCli(['rm', 'org/name'], { env });
  expect(asked).toMatchObject({ code: 2, stderr: expect.stringMatching(/without a terminal.*--yes/) });
  expect(await runCli(['rm', 'org/name', '--yes'], { env })).toMatchObject({
    code: 0,
    stdout: 'Removed org/name: 1.1 kB.\n',
  });
  expect((await readdir(cache)).sort()).toEqual(['.locks', 'datasets--org--data', 'models--org--cut', 'version.txt']);
  expect(await readdir(join(cache, '.locks'))).toEqual([]);
  const again = await runCli(['rm', 'org/name', '-y'], { env });
  expect(again).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^error: 'org\/name' is not in the cache .*\n$/),
  });
});

test('one revision goes with the files that no other has; the last one takes the model', async () => {
  const { cache } = await makeCache();
  expect(await removeHubModel('org/name', { revision: 'main' }, cache)).toBe(1000);
  const [, model] = await storedHubModels(cache);
  expect(model).toMatchObject({ bytes: 110, revisions: [{ commit: FIRST }] });
  expect(await readFile(join(model.folder, 'snapshots', FIRST, 'config.json'), 'utf8')).toHaveLength(10);
  expect(await readdir(join(model.folder, 'refs'))).toEqual(['refs']);
  await expect(removeHubModel('org/name', { revision: 'main' }, cache)).rejects.toThrow(ModelNotFoundError);
  expect(await removeHubModel('org/name', { revision: FIRST }, cache)).toBe(110);
  expect(existsSync(model.folder)).toBe(false);
});

test('nothing outside the cache can be named', async () => {
  const { home, cache } = await makeCache();
  for (const id of ['..', '../x', 'a/../b', '/etc', '.', 'org', 'org/name/blobs', '']) {
    await expect(removeHubModel(id, {}, cache)).rejects.toThrow(ModelNotFoundError);
  }
  for (const revision of ['..', '../../x', ''])
    await expect(removeHubModel('org/name', { revision }, cache)).rejects.toThrow(ArgumentError);
  const outside = join(home, 'precious');
  await mkdir(outside);
  await symlink(outside, join(cache, 'models--org--link'));
  await expect(removeHubModel('org/link', {}, cache)).rejects.toThrow(ModelNotFoundError);
  expect(existsSync(outside)).toBe(true);
});

test('models in GGUF are listed by their quantizations, and can go one by one', async () => {
  const home = await makeFolder();
  const folder = join(home, 'hub', 'models--org--gguf');
  const put = async (file: string, size: number) => {
    const [blob, shown] = [join(folder, 'blobs', `${size}`), join(folder, 'snapshots', FIRST, file)];
    for (const path of [blob, shown]) await mkdir(dirname(path), { recursive: true });
    await writeFile(blob, 'x'.repeat(size));
    await symlink(blob, shown);
  };
  await put('m-Q4_K_M.gguf', 100);
  await put('BF16/m-BF16-00001-of-00002.gguf', 200);
  await put('BF16/m-BF16-00002-of-00002.gguf', 300);
  await mkdir(join(folder, 'refs'));
  await writeFile(join(folder, 'refs', 'main'), FIRST);
  const env = { HF_HOME: home };
  expect((await runCli(['list'], { env })).stdout).toMatch(/^org\/gguf +600 B +\S+ +main \(BF16, Q4_K_M\)$/m);
  expect(await runCli(['rm', 'org/gguf:Q8_0', '-y'], { env })).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/no model in GGUF of the quantization 'Q8_0'.*It has BF16, Q4_K_M/),
  });
  expect((await runCli(['rm', 'org/gguf:bf16', '-y'], { env })).stdout).toBe('Removed org/gguf:bf16: 500 B.\n');
  expect(await readdir(join(folder, 'blobs'))).toEqual(['100']);
  expect((await runCli(['rm', 'org/gguf:Q4_K_M', '-y'], { env })).stdout).toBe('Removed org/gguf:Q4_K_M: 100 B.\n');
  expect(existsSync(folder)).toBe(false);
});
