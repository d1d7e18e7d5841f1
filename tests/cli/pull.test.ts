import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { COMMIT, MockHub } from '../checkpoint/mock-hub.ts';
import { offline, runCli, runOnOneRank } from './run-cli.ts';
import { tinyFile } from './tiny-dts.ts';

describe('pull', () => {
  test('fetches a model, prints its folder, and later commands find it', async () => {
    const names = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
    const files = await Promise.all(names.map(async (name) => [name, await tinyFile(name)] as const));
    const hub = await MockHub.start(Object.fromEntries(files));
    const home = await makeFolder();
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home };
    const { code, stdout, stderr } = await runCli(['pull', 'org/name', '--revision', 'v1'], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe(`${join(home, 'hub', 'models--org--name', 'snapshots', COMMIT)}\n`);
    expect((await readdir(stdout.trim())).sort()).toEqual(names);

    const later = { env: { HF_HOME: home, HF_HUB_OFFLINE: '1' } };
    const inspected = await runCli(['inspect', 'org/name@v1', '--json'], later);
    expect(inspected.code).toBe(0);
    expect(JSON.parse(inspected.stdout).parameters.total).toBe(7_564_880);
    const generated = await runOnOneRank(['generate', 'x', '-m', 'org/name', '--revision', 'v1', '-n', '2'], later);
    expect(generated.code).toBe(0);
  });

  test('inspect reads headers by ranges, and stores nothing', async () => {
    const names = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
    const files = await Promise.all(names.map(async (name) => [name, await tinyFile(name)] as const));
    const home = await makeFolder();
    for (const weights of ['model.safetensors', 'other.safetensors']) {
      const renamed = files.map(([name, content]) => [name === names[1] ? weights : name, content] as const);
      const hub = await MockHub.start(Object.fromEntries(renamed));
      const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: 'secret' };
      const { code, stdout, stderr } = await runCli(['inspect', 'org/name', '--json'], { env });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const report = JSON.parse(stdout);
      expect(report).toMatchObject({ parameters: { total: 7_564_880 }, files: { names: [weights] } });
      expect(report.files.bytes).toBe(files[1][1].length);
      expect(hub.sentBytes).toBeLessThan(1_500_000);
      expect(hub.requestsOf(weights).every(({ authorization }) => authorization === 'Bearer secret')).toBe(true);
      expect(await readdir(home)).toEqual([]);
    }
  });

  test('what is not there', async () => {
    const hub = await MockHub.start({});
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: await makeFolder() };
    const unknown = await runCli(['pull', 'org/other'], { env });
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/^error: .*org\/other.*\n$/);
    const unreachable = await runCli(['pull', 'org/name', '--quiet'], { env: await offline() });
    expect(unreachable.code).toBe(1);
    expect(unreachable.stderr).toMatch(/^error: HF_HUB_OFFLINE is set/);
  });
});
